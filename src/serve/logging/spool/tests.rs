//! Lines in memory: what is written when, in which order, and what is lost.

use std::sync::mpsc;

use super::*;

const LONG: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(30);

/// What takes what is written, as long as it is open.
#[derive(Clone, Default)]
struct Pipe(Arc<(Mutex<Taken>, Condvar)>);

#[derive(Default)]
struct Taken {
    is_shut: bool,
    writes: Vec<Vec<u8>>,
    /// What is said to the next writes, in place of taking everything.
    answers: Vec<io::Result<usize>>,
}

impl Pipe {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.0.lock().unwrap()
    }

    fn shut(&self, is_shut: bool) {
        self.taken().is_shut = is_shut;
        self.0.1.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.taken().writes.concat()).unwrap()
    }

    fn wait_for(&self, bytes: usize) {
        let is_less = |taken: &mut Taken| taken.writes.iter().map(Vec::len).sum::<usize>() < bytes;
        let waited = self.0.1.wait_timeout_while(self.taken(), PATIENCE, is_less).unwrap();
        assert!(!waited.1.timed_out());
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = self.0.1.wait_while(self.taken(), |taken| taken.is_shut).unwrap();
        let count = if taken.answers.is_empty() { bytes.len() } else { taken.answers.remove(0)? };
        let count = count.min(bytes.len());
        taken.writes.push(bytes[..count].to_vec());
        self.0.1.notify_all();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start(pipe: &Pipe, gather: Duration) -> (Arc<Spool>, mpsc::Receiver<u64>) {
    let (told, lost) = mpsc::channel();
    let tell = Box::new(move |lines| {
        let _ = told.send(lines);
    });
    (Spool::start(pipe.clone(), gather, tell).unwrap(), lost)
}

#[test]
fn what_is_said_comes_at_once_behind_what_was_gathered() {
    let pipe = Pipe::default();
    let (spool, _) = start(&pipe, LONG);
    spool.gather(b"a\n");
    spool.gather(b"b\n");
    assert_eq!(pipe.text(), "");
    spool.say(b"c\n");
    assert_eq!(pipe.text(), "a\nb\nc\n");
    assert_eq!(pipe.taken().writes.len(), 1, "in one write");
    spool.gather(b"d\n");
    spool.flush();
    assert_eq!(pipe.text(), "a\nb\nc\nd\n");
    spool.flush();
}

#[test]
fn many_lines_are_written_before_their_time_and_few_in_time() {
    let (many, few) = (Pipe::default(), Pipe::default());
    let (spool, _) = start(&many, LONG);
    let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
    (0..FULL / line.len()).for_each(|_| spool.gather(&line));
    many.wait_for(FULL);
    let (spool, _) = start(&few, Duration::from_millis(20));
    for count in 1..=3 {
        spool.gather(b"a\n");
        few.wait_for(2 * count);
    }
}

#[test]
fn while_nothing_is_taken_nobody_waits_and_what_has_no_place_is_counted() {
    let pipe = Pipe::default();
    let (spool, lost) = start(&pipe, LONG);
    pipe.shut(true);
    let line = |number: usize| format!("{number:01023}\n");
    let sent = 2 * GATHERED_MAX / 1024;
    (0..sent).for_each(|number| spool.gather(line(number).as_bytes()));
    let began = Instant::now();
    (sent..sent + 100).for_each(|number| spool.say(line(number).as_bytes()));
    assert!(began.elapsed() < 50 * SAY_WAIT, "each waited");
    let gone = spool.lost();
    assert!(gone > 0);
    pipe.shut(false);
    spool.flush();
    assert_eq!(lost.recv_timeout(PATIENCE).unwrap(), gone);
    let text = pipe.text();
    let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(text.lines().all(|line| line.len() == 1023) && numbers.is_sorted());
    assert_eq!(numbers.len() as u64 + gone, sent as u64 + 100);
    assert!(
        numbers.ends_with(&(sent..sent + 100).collect::<Vec<_>>()),
        "what is said has a place of its own"
    );
    spool.gather(b"0\n");
    spool.say(b"1\n");
    assert!(pipe.text().ends_with("\n0\n1\n") && spool.lost() == gone, "it goes on as before");
}

#[test]
fn what_fails_is_counted_and_a_torn_line_is_ended() {
    let pipe = Pipe::default();
    let (spool, lost) = start(&pipe, LONG);
    let fails = |kind: ErrorKind| Err(io::Error::from(kind));
    pipe.taken().answers = vec![fails(ErrorKind::Interrupted), Ok(3), fails(ErrorKind::WouldBlock), Ok(2)];
    spool.say(b"abcdef\n");
    assert_eq!((pipe.text().as_str(), spool.lost()), ("abcdef\n", 0));
    pipe.taken().answers = vec![Ok(3), fails(ErrorKind::BrokenPipe), fails(ErrorKind::BrokenPipe)];
    spool.gather(b"1\n");
    spool.say(b"2345\n");
    assert_eq!(spool.lost(), 1);
    spool.say(b"nothing of this\n");
    assert_eq!(spool.lost(), 2);
    assert!(lost.try_recv().is_err(), "there is nobody to tell yet");
    spool.say(b"6\n");
    assert_eq!(pipe.text(), "abcdef\n1\n2\n6\n");
    assert_eq!(lost.recv_timeout(PATIENCE).unwrap(), 2);
}

#[test]
fn lines_of_many_threads_are_whole_and_each_thread_s_in_order() {
    const THREADS: usize = 8;
    const LINES: usize = 2000;
    let pipe = Pipe::default();
    let (spool, _) = start(&pipe, Duration::from_millis(1));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let spool = &spool;
            scope.spawn(move || {
                for number in 0..LINES {
                    let line = format!("{thread} {number}\n");
                    if number % 100 == 0 { spool.say(line.as_bytes()) } else { spool.gather(line.as_bytes()) }
                }
            });
        }
    });
    spool.flush();
    let mut next = [0; THREADS];
    for line in pipe.text().lines() {
        let (thread, number) = line.split_once(' ').unwrap();
        let next = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(number.parse::<usize>().unwrap(), *next);
        *next += 1;
    }
    assert_eq!((next, spool.lost()), ([LINES; THREADS], 0));
}
