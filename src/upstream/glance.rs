//! A lock whose content, in a word, can be glanced at without taking it. Never: what is in it.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is locked. The word is what `sum_up` said when the lock was left last.
pub(super) struct Glanced<T> {
    content: Mutex<T>,
    word: AtomicUsize,
    sum_up: fn(&T) -> usize,
}

/// The content, locked.
pub(super) struct Inside<'a, T> {
    content: MutexGuard<'a, T>,
    of: &'a Glanced<T>,
}

impl<T> Glanced<T> {
    pub(super) fn new(content: T, sum_up: fn(&T) -> usize) -> Self {
        let word = AtomicUsize::new(sum_up(&content));
        Self { content: Mutex::new(content), word, sum_up }
    }

    pub(super) fn lock(&self) -> Inside<'_, T> {
        Inside { content: self.content.lock().unwrap_or_else(PoisonError::into_inner), of: self }
    }

    /// It may have changed since.
    pub(super) fn glance(&self) -> usize {
        self.word.load(Ordering::Relaxed)
    }
}

impl<T> Deref for Inside<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

impl<T> DerefMut for Inside<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.content
    }
}

impl<T> Drop for Inside<'_, T> {
    fn drop(&mut self) {
        let word = (self.of.sum_up)(&self.content);
        // What is only read stays in the caches of all who glance at it.
        if self.of.glance() != word {
            self.of.word.store(word, Ordering::Relaxed);
        }
    }
}
