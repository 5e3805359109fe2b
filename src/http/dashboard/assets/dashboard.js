// Makes the dashboard quicker to use. Every page works without it.

const body = root => root.querySelector('[data-dialog-body]');
const isHeld = root => root.querySelector('[data-stored]')?.checked === false;

// Shown once: nobody leaves by accident before it is stored.
function hold(box) {
  const done = box.closest('[data-dialog-body]').querySelector('[data-done]');
  done.dataset.href ??= done.getAttribute('href');
  if (box.checked) {
    done.href = done.dataset.href;
    done.removeAttribute('aria-disabled');
  } else {
    done.removeAttribute('href');
    done.setAttribute('role', 'link');
    done.setAttribute('aria-disabled', 'true');
  }
}

// Deleting: the button waits for the name.
function match(input) {
  input.form.querySelector('.danger').disabled = input.value !== input.dataset.expected;
}

// Fields that only count with a certain choice.
function reveal(form) {
  for (const part of form.querySelectorAll('[data-if]')) {
    const [name, value] = part.dataset.if.split('=');
    part.hidden = new FormData(form).get(name) !== value;
  }
}

function prepare(root) {
  for (const it of root.querySelectorAll('[data-copy], [data-js]')) it.hidden = false;
  root.querySelectorAll('[data-stored]').forEach(hold);
  root.querySelectorAll('[data-expected]').forEach(match);
  root.querySelectorAll('form').forEach(reveal);
}

function wipe(root) {
  for (const it of root.querySelectorAll('[data-secret]')) {
    if ('value' in it) it.value = it.defaultValue = '';
    else it.textContent = '';
  }
}

function say(near, text) {
  const live = (near.closest('dialog') ?? document).querySelector('[data-live]');
  live.textContent = '';
  setTimeout(() => { live.textContent = text; }, 50);
}

async function copy(button) {
  const from = document.getElementById(button.dataset.copy);
  let done = true;
  try {
    await navigator.clipboard.writeText(from.value ?? from.textContent);
  } catch {
    if (from.select) from.select();
    else getSelection().selectAllChildren(from);
    done = document.execCommand('copy');
  }
  const label = button.querySelector('span');
  label.textContent = done ? 'Copied' : 'Selected';
  say(button, label.textContent);
  setTimeout(() => { label.textContent = 'Copy'; }, 2000);
}

// Shows a page's content in the dialog; false if it is not for dialogs.
function fill(dialog, html) {
  const content = body(new DOMParser().parseFromString(html, 'text/html'));
  if (!content) return false;
  const heading = document.createElement('h2');
  const title = content.querySelector('h1');
  heading.id = 'dialog-title';
  heading.append(...title.childNodes);
  title.replaceWith(heading);
  body(dialog)?.remove();
  dialog.prepend(document.adoptNode(content));
  prepare(content);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  content.querySelector('[autofocus], [data-copy], a, button')?.focus();
  return true;
}

async function open(link) {
  const dialog = document.createElement('dialog');
  dialog.dataset.href = link.href;
  dialog.setAttribute('aria-labelledby', 'dialog-title');
  dialog.innerHTML = '<p class="vh" data-live aria-live="polite"></p>';
  dialog.addEventListener('close', () => {
    if (isHeld(dialog)) return dialog.showModal();
    const done = dialog.querySelector('[data-done]');
    dialog.remove();
    if (done) location.assign(done.href);
  });
  document.body.append(dialog);
  try {
    const answer = await fetch(link.href);
    if (!answer.redirected && fill(dialog, await answer.text())) return;
  } catch { /* goes there */ }
  dialog.remove();
  location.assign(link.href);
}

async function send(dialog, form) {
  try {
    const answer = await fetch(form.getAttribute('action'), {
      method: 'POST',
      body: new URLSearchParams(new FormData(form)),
    });
    if (answer.redirected) location.assign(answer.url);
    else if (!fill(dialog, await answer.text())) location.replace(dialog.dataset.href);
  } catch {
    delete form.dataset.busy;
    form.querySelector('[role=alert]')?.remove();
    const line = document.createElement('p');
    line.className = 'notice bad';
    line.setAttribute('role', 'alert');
    line.textContent = 'Ember could not be reached. Check the connection, then try again.';
    form.prepend(line);
  }
}

document.addEventListener('click', event => {
  const it = event.target.closest?.('[data-copy], [data-cancel], [data-done], [data-dialog]');
  if (!it || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const dialog = it.closest('dialog');
  if (it.dataset.copy) copy(it);
  else if (it.matches('[data-dialog]')) {
    event.preventDefault();
    if (!document.querySelector('dialog')) open(it);
  } else if (dialog) {
    event.preventDefault();
    if (isHeld(dialog)) return;
    wipe(dialog);
    dialog.close();
  }
});

document.addEventListener('keydown', event => {
  const dialog = document.querySelector('dialog');
  if (event.key === 'Escape' && dialog && (isHeld(dialog) || dialog.querySelector('[data-busy]'))) event.preventDefault();
});

document.addEventListener('submit', event => {
  const form = event.target;
  if (form.method !== 'post') return;
  if (form.dataset.busy) return event.preventDefault();
  form.dataset.busy = 'yes';
  const dialog = form.closest('dialog');
  if (!dialog) return;
  event.preventDefault();
  send(dialog, form);
});

document.addEventListener('input', event => {
  const it = event.target;
  if (it.matches('[data-stored]')) hold(it);
  if (it.matches('[data-expected]')) match(it);
  if (it.form) reveal(it.form);
});

document.addEventListener('change', event => {
  if (event.target.matches('[data-auto] select')) event.target.form.requestSubmit();
});

// Nothing secret stays for the back button.
addEventListener('pagehide', () => wipe(document));

addEventListener('pageshow', event => {
  if (!event.persisted) return;
  for (const it of document.querySelectorAll('[data-busy]')) delete it.dataset.busy;
  const done = document.querySelector('[data-done]');
  if (done) location.replace(done.dataset.href ?? done.href);
});

prepare(document);
