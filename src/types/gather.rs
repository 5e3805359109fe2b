//! Filling sets and maps one by one. Never: what is in them.

/// For the sorted sets and maps of cold code. `collect` sorts first, by a sorting routine of some kilobytes that the
/// compiler makes anew for every kind of iterator; this takes the insertion that is there anyway. The last of two equal
/// ones stays, with both.
pub(crate) trait Gather: Iterator + Sized {
    /// All of them.
    fn gather<C: Default + Extend<Self::Item>>(self) -> C {
        let mut all = C::default();
        all.extend(self);
        all
    }

    /// All of them, or the first error.
    fn try_gather<C, T, E>(self) -> Result<C, E>
    where
        Self: Iterator<Item = Result<T, E>>,
        C: Default + Extend<T>,
    {
        let mut all = C::default();
        for one in self {
            all.extend(Some(one?));
        }
        Ok(all)
    }
}

impl<I: Iterator> Gather for I {}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::Gather;

    #[test]
    fn gathering_is_collecting() {
        let pairs = [(2, "b"), (1, "a"), (2, "c")];
        assert_eq!(pairs.into_iter().gather::<BTreeMap<_, _>>(), pairs.into_iter().collect());
        assert_eq!([3, 1, 3].into_iter().gather::<BTreeSet<_>>(), [1, 3].into());
    }

    #[test]
    fn the_first_error_ends_it() {
        let parsed =
            |texts: [&str; 3]| texts.into_iter().map(str::parse::<u8>).try_gather::<BTreeSet<_>, _, _>();
        assert_eq!(parsed(["2", "1", "2"]), Ok([1, 2].into()));
        assert_eq!(parsed(["1", "x", ""]), Err("x".parse::<u8>().unwrap_err()));
    }
}
