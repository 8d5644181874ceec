//! Where a test lets the index die: each write to disk passes here. Outside this crate's tests it is nothing.

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn point() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use scripted::{after, point};

#[cfg(test)]
mod scripted {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// From the n-th write on every write of this thread fails, until called with `None`.
    pub(crate) fn after(n: Option<u64>) {
        LEFT.set(n);
    }

    pub(crate) fn point() -> io::Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the disk is gone")),
            Some(n) => {
                LEFT.set(Some(n - 1));
                Ok(())
            }
        }
    }
}
