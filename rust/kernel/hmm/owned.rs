// SPDX-License-Identifier: GPL-2.0

//! Fault ranges that belong to an object.

use super::{
    FaultBuffer,
    FaultRange,
    Mirror,
    MirrorOps, //
};
use crate::{
    mm::addr::PageRange,
    prelude::*,
    sync::Arc, //
};
use core::ptr::NonNull;

/// A [`FaultRange`] that owns its buffer and a reference to its mirror.
///
/// It can be stored in an object, and stays in flight for as long as that object lives. Dropping it
/// may drop the mirror, so do not drop it where dropping a mirror would
/// [deadlock](Mirror#deadlocks): in a callback, or as a part of its own page table.
///
/// # Examples
///
/// A buffer that is registered with the device once. Each submission checks whether the buffer is
/// still where it was, and faults only if it is not:
///
/// ```
/// use kernel::{
///     hmm::{FaultBuffer, Mirror, MirrorOps, OwnedFaultRange, Pages, Write},
///     mm::addr::PageRange,
///     prelude::*,
///     sync::Arc,
/// };
///
/// #[pin_data]
/// struct Buffer<T: MirrorOps> {
///     #[pin]
///     range: OwnedFaultRange<T>,
/// }
///
/// impl<T: MirrorOps> Buffer<T> {
///     fn new(mirror: Arc<Mirror<T>>, range: PageRange) -> Result<Pin<KBox<Self>>> {
///         let buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
///
///         KBox::try_pin_init(
///             try_pin_init!(Self { range <- OwnedFaultRange::new(mirror, range, buffer) }),
///             GFP_KERNEL,
///         )
///     }
///
///     fn submit(
///         self: Pin<&mut Self>,
///         enter: impl Fn(Pin<&mut T::PageTable>, Pages<'_, T, Write>),
///         start: impl Fn(&T::PageTable),
///     ) -> Result {
///         let mut range = self.project().range.range();
///
///         for _ in 0..100 {
///             if let Ok(table) = range.as_mut().lock_committed() {
///                 start(&table);
///                 return Ok(());
///             }
///             let _ = range.as_mut().fault(Write)?.commit(&enter);
///         }
///         Err(EBUSY)
///     }
/// }
/// ```
///
/// A range that several threads use is behind a mutex. It must not be a lock that a callback takes,
/// because a fault is made with it held:
///
/// ```
/// use kernel::{
///     hmm::{MirrorOps, OwnedFaultRange, Read},
///     prelude::*,
///     sync::Mutex,
/// };
///
/// fn refresh<T: MirrorOps>(shared: &Mutex<Pin<KBox<OwnedFaultRange<T>>>>) -> Result<bool> {
///     let mut guard = shared.lock();
///
///     // `guard.as_mut()` would be the method of the guard.
///     let faulted = (*guard).as_mut().range().fault(Read)?;
///     Ok(faulted.commit(|_table, _pages| ()).is_ok())
/// }
/// ```
#[repr(transparent)]
pub struct OwnedFaultRange<T: MirrorOps>(Inner<T>);

// Apart, because `#[pin_data]` gives a type a method `project()` that is as public as the type.
#[pin_data]
struct Inner<T: MirrorOps> {
    // In the order in which they are dropped: the range ends before what it uses is dropped.
    #[pin]
    range: FaultRange<'static, T>,
    _buffer: FaultBuffer,
    _mirror: Arc<Mirror<T>>,
}

// SAFETY: A range may be used by any thread, as long as it is one at a time, which `&mut`
// guarantees. The mirror that it refers to is `Sync`, and the buffer is `Send`.
unsafe impl<T: MirrorOps> Send for OwnedFaultRange<T> {}
// SAFETY: No method takes `&OwnedFaultRange`.
unsafe impl<T: MirrorOps> Sync for OwnedFaultRange<T> {}

impl<T: MirrorOps> OwnedFaultRange<T> {
    /// Creates an initialiser for a range, which does not sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Faulter::range`](super::Faulter::range).
    pub fn new(
        mirror: Arc<Mirror<T>>,
        range: PageRange,
        mut buffer: FaultBuffer,
    ) -> impl PinInit<Self, Error> {
        // `range()` does return a `FaultRange<'static, T>`, but that has no method that returns a
        // reference to its mirror, or anything else, that lives longer than the borrow of the
        // range.
        let borrowed = NonNull::from(&*mirror);
        let inner = try_pin_init!(Inner {
            // SAFETY: `_mirror` keeps the mirror, and `_buffer` the memory of the buffer, until the
            // range has been dropped, and nothing else uses the latter.
            range <- unsafe { FaultRange::new(borrowed, range, &mut buffer) },
            _buffer: buffer,
            _mirror: mirror,
        });

        // SAFETY: `Self` is a transparent wrapper of `Inner<T>`.
        unsafe { pin_init::cast_pin_init::<Inner<T>, Self, Error>(inner) }
    }

    /// Returns the range, to fault it in and to use the result.
    ///
    /// It stands for a [`Faulter`](super::Faulter) of the mirror, and the same rules about
    /// deadlocks apply. Does not sleep.
    #[inline]
    pub fn range(self: Pin<&mut Self>) -> Pin<&mut FaultRange<'static, T>> {
        // SAFETY: The only field is pinned whenever `self` is.
        unsafe { self.map_unchecked_mut(|this| &mut this.0) }
            .project()
            .range
    }
}
