// SPDX-License-Identifier: GPL-2.0

//! Invalidation in two passes.

use super::{
    callbacks::{
        Callbacks,
        FinishCallback,
        StartCallback, //
    },
    Invalidation,
    Mirror,
    MirrorOps, //
};
use crate::{
    prelude::*,
    types::ForeignOwnable, //
};
use core::{
    num::NonZeroU64,
    ptr, //
};

/// The driver's side of a mirror that is invalidated in two passes, for devices with a slow flush.
///
/// The flushes of all devices that mirror the address space are started before the first one is
/// waited for, so they run in parallel. Such a driver has no
/// [`invalidate`](MirrorOps::invalidate), and says so by [`MirrorOps::TWO_PASSES`].
///
/// # Examples
///
/// A device that flushes its whole TLB, one flush after the other, and counts the flushes:
///
/// ```
/// use core::{marker::PhantomPinned, num::NonZeroU64};
/// use kernel::{
///     hmm::{Invalidation, MirrorOps, TwoPassOps, TwoPasses},
///     mm::addr::{Pfn, VirtAddr},
///     prelude::*,
///     sync::lock::mutex::MutexBackend,
/// };
///
/// struct Gpu;
///
/// impl Gpu {
///     /// Starts a flush, and returns its number.
///     fn start_flush(&self) -> u64 {
/// #       1
///     }
///
///     /// Waits until the flush with this number, and all before it, are complete.
///     fn wait_for_flush(&self, _number: u64) {}
/// }
///
/// #[pin_data]
/// struct Table {
///     entries: KVec<(VirtAddr, Pfn)>,
///     last_flush: u64,
///     #[pin]
///     _pinned: PhantomPinned,
/// }
///
/// #[vtable]
/// impl MirrorOps for Gpu {
///     const NAME: &'static CStr = c"gpu";
///     type PageTable = Table;
///     type Lock = MutexBackend;
///     const TWO_PASSES: Option<TwoPasses<Self>> = Some(TwoPasses::new());
/// }
///
/// impl TwoPassOps for Gpu {
///     type Fence = NonZeroU64;
///
///     fn invalidate_start(
///         &self,
///         table: Pin<&mut Table>,
///         invalidation: &Invalidation<'_>,
///     ) -> Option<NonZeroU64> {
///         let table = table.project();
///         let before = table.entries.len();
///
///         table.entries.retain(|entry| !invalidation.range().contains(entry.0));
///         if table.entries.len() < before {
///             *table.last_flush = self.start_flush();
///         }
///         // Wait for the last flush, even if another thread started it.
///         NonZeroU64::new(*table.last_flush)
///     }
///
///     fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, flush: NonZeroU64) {
///         self.wait_for_flush(flush.get());
///     }
/// }
/// ```
pub trait TwoPassOps: MirrorOps {
    /// What identifies a flush.
    type Fence: Fence;

    /// Removes the entries that are about to become stale, and starts to flush the device's TLB.
    ///
    /// Returns the flush, or [`None`] if there is none to wait for. Having found no entries is not
    /// a reason to return [`None`]: another thread may just have removed them for an invalidation
    /// of its own, and that flush may still be running. The pages may be freed after this
    /// invalidation, so it has to wait for that flush as well.
    ///
    /// Called with the lock of the page table held. Must not sleep under a spinlock. May sleep
    /// under a mutex, where what is not [blockable](Invalidation::blockable) is refused without a
    /// call, or is for [`MirrorOps::try_invalidate`]. It cannot fail.
    fn invalidate_start(
        &self,
        table: Pin<&mut Self::PageTable>,
        invalidation: &Invalidation<'_>,
    ) -> Option<Self::Fence>;

    /// Waits for the flush that [`invalidate_start`](Self::invalidate_start) started.
    ///
    /// Called with the same `invalidation`, by the same thread, once for each flush, even if
    /// another mirror refuses the invalidation. It is called without the lock of the page table,
    /// and may take it. Whatever [`MirrorOps::Lock`] is, this may sleep if the invalidation is
    /// [blockable](Invalidation::blockable), and must not sleep if it is not: a driver with a
    /// spinlock has to wait for such a flush in a loop. It cannot fail.
    fn invalidate_finish(&self, invalidation: &Invalidation<'_>, fence: Self::Fence);
}

/// Says that a driver invalidates in two passes, see [`MirrorOps::TWO_PASSES`].
pub struct TwoPasses<T: MirrorOps> {
    pub(super) start: StartCallback,
    pub(super) finish: FinishCallback,
    pub(super) both: fn(&Mirror<T>, &Invalidation<'_>),
}

impl<T: TwoPassOps> TwoPasses<T> {
    /// Refers to the driver's [`TwoPassOps`].
    #[expect(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            start: Callbacks::<T>::invalidate_start,
            finish: Callbacks::<T>::invalidate_finish,
            both: Callbacks::<T>::both_passes,
        }
    }
}

/// What identifies a flush, between the passes of [`TwoPassOps`]: a number that is not 0, or
/// something that the driver owns.
///
/// Nothing may be allocated in an invalidation. So what is owned is a pointer to what is there
/// already, such as an [`Arc`](crate::sync::Arc), or a box that the driver has in reserve.
///
/// # Examples
///
/// A device that completes each flush by an interrupt. The fence is allocated with the page table,
/// and replaced by the driver outside of callbacks:
///
/// ```
/// use core::marker::PhantomPinned;
/// use kernel::{
///     hmm::{Invalidation, MirrorOps, TwoPassOps, TwoPasses},
///     prelude::*,
///     sync::{lock::mutex::MutexBackend, Arc, Completion},
/// };
///
/// #[pin_data]
/// struct Table {
///     flush: Arc<Completion>,
///     #[pin]
///     _pinned: PhantomPinned,
/// }
///
/// struct Gpu;
///
/// #[vtable]
/// impl MirrorOps for Gpu {
///     const NAME: &'static CStr = c"gpu";
///     type PageTable = Table;
///     type Lock = MutexBackend;
///     const TWO_PASSES: Option<TwoPasses<Self>> = Some(TwoPasses::new());
/// }
///
/// impl TwoPassOps for Gpu {
///     type Fence = Arc<Completion>;
///
///     fn invalidate_start(
///         &self,
///         table: Pin<&mut Table>,
///         _invalidation: &Invalidation<'_>,
///     ) -> Option<Arc<Completion>> {
///         Some(table.flush.clone())
///     }
///
///     fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, flush: Arc<Completion>) {
///         flush.wait_for_completion();
///     }
/// }
/// ```
///
/// # Safety
///
/// [`from_raw`](Self::from_raw) returns what `into_raw` was given.
pub unsafe trait Fence: Send + Sized {
    /// Turns the fence into a number that the registry keeps.
    fn into_raw(self) -> NonZeroU64;

    /// Turns it back.
    ///
    /// # Safety
    ///
    /// `raw` was returned by [`into_raw`](Self::into_raw), and this is called once for it.
    unsafe fn from_raw(raw: NonZeroU64) -> Self;
}

// SAFETY: Both return their argument.
unsafe impl Fence for NonZeroU64 {
    #[inline]
    fn into_raw(self) -> NonZeroU64 {
        self
    }

    #[inline]
    unsafe fn from_raw(raw: NonZeroU64) -> Self {
        raw
    }
}

// SAFETY: `into_foreign()` never returns null, and an address has at most 64 bits.
unsafe impl<P: ForeignOwnable + Send> Fence for P {
    #[inline]
    fn into_raw(self) -> NonZeroU64 {
        let addr = self.into_foreign().expose_provenance() as u64;

        // SAFETY: It is not null.
        unsafe { NonZeroU64::new_unchecked(addr) }
    }

    #[inline]
    unsafe fn from_raw(raw: NonZeroU64) -> Self {
        let ptr = ptr::with_exposed_provenance_mut(raw.get() as usize);

        // SAFETY: By the safety requirements `into_foreign()` has returned it, and it was not
        // turned back yet.
        unsafe { P::from_foreign(ptr) }
    }
}
