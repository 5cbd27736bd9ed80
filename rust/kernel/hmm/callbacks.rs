// SPDX-License-Identifier: GPL-2.0

//! The callbacks that the registry calls.

use super::{
    invalidation::RawInvalidation,
    Fence,
    Invalidation,
    Mirror,
    MirrorLock,
    MirrorOps,
    TwoPassOps,
    WouldBlock, //
};
use crate::{
    bindings,
    str::as_char_ptr_in_const_context,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    num::NonZeroU64, //
};

/// The C type of [`Callbacks::invalidate_start`].
pub(super) type StartCallback =
    unsafe extern "C" fn(*mut bindings::hmm_mirror, *const RawInvalidation, *mut u64) -> bool;

/// The C type of [`Callbacks::invalidate_finish`].
pub(super) type FinishCallback =
    unsafe extern "C" fn(*mut bindings::hmm_mirror, *const RawInvalidation, u64);

/// The C callbacks of a [`Mirror<T>`].
pub(super) struct Callbacks<T: MirrorOps>(PhantomData<T>);

impl<T: MirrorOps> Callbacks<T> {
    pub(super) const OPS: bindings::hmm_mirror_ops = {
        assert!(
            T::HAS_INVALIDATE != T::TWO_PASSES.is_some(),
            "a mirror has `invalidate`, or `TWO_PASSES`"
        );
        assert!(
            !(T::HAS_TRY_INVALIDATE && T::Lock::ATOMIC),
            "`try_invalidate` is for a mirror with a mutex"
        );
        assert!(
            !(T::CPU_ACCESS && T::HAS_OWNER),
            "the CPU cannot access device private memory"
        );
        assert!(
            !T::DMA_DIRECT || T::HAS_DEVICE,
            "`DMA_DIRECT` is for a mirror with a `device`"
        );
        assert!(
            T::DMA_DIRECT || !T::HAS_QUIESCE,
            "`quiesce` is for a mirror with `DMA_DIRECT`"
        );
        assert!(
            T::DMA_ORDER <= 18,
            "`DMA_ORDER` is that of a leaf table: 1 GiB of small pages, at most"
        );

        bindings::hmm_mirror_ops {
            sync_cpu_device_pagetables: None,
            invalidate: if T::HAS_INVALIDATE {
                Some(Self::invalidate)
            } else {
                None
            },
            invalidate_start: match T::TWO_PASSES {
                Some(passes) => Some(passes.start),
                None => None,
            },
            invalidate_finish: match T::TWO_PASSES {
                Some(passes) => Some(passes.finish),
                None => None,
            },
            invalidate_end: if T::HAS_INVALIDATE_END {
                Some(Self::invalidate_end)
            } else {
                None
            },
            release: if T::HAS_RELEASE {
                Some(Self::release)
            } else {
                None
            },
            name: as_char_ptr_in_const_context(T::NAME),
            flags: if T::DMA_DIRECT {
                bindings::hmm_mirror_flags_HMM_MIRROR_DMA_DIRECT
            } else {
                0
            },
        }
    };

    /// Invalidates the whole address space, as if it went away. Does nothing after a release, when
    /// the driver may have given up what a flush needs: it was done before, and no entry can have
    /// come since.
    pub(super) fn invalidate_all(mirror: &Mirror<T>) {
        let invalidation = Invalidation::everything();

        if T::HAS_RELEASE && mirror.lock().is_released() {
            return;
        }

        // Nothing is refused, because this may block.
        if let Some(passes) = T::TWO_PASSES {
            (passes.both)(mirror, &invalidation);
        } else {
            let _ = Self::one_pass(mirror, &invalidation);
        }
    }

    /// Whether callbacks that get the page table may be called, or would possibly sleep.
    #[inline]
    fn may_call(invalidation: &Invalidation<'_>) -> bool {
        T::Lock::ATOMIC || invalidation.blockable()
    }

    #[inline]
    fn one_pass(mirror: &Mirror<T>, invalidation: &Invalidation<'_>) -> Result<(), WouldBlock> {
        if Self::may_call(invalidation) {
            let mut table = mirror.lock();

            table.invalidate_frames(invalidation);
            mirror.ops().invalidate(table.as_mut(), invalidation);
            return Ok(());
        }
        Self::without_blocking(mirror, invalidation)
    }

    /// Invalidates what must not block, under a mutex.
    fn without_blocking(
        mirror: &Mirror<T>,
        invalidation: &Invalidation<'_>,
    ) -> Result<(), WouldBlock> {
        if !T::HAS_TRY_INVALIDATE {
            return Err(WouldBlock);
        }

        let mut table = mirror.try_lock().ok_or(WouldBlock)?;

        // Even if the driver refuses: it may have removed entries.
        table.invalidate_frames(invalidation);
        mirror.ops().try_invalidate(table.as_mut(), invalidation)
    }

    /// Returns the mirror that a callback is for.
    ///
    /// # Safety
    ///
    /// `mirror` is the `raw` of a `Mirror<T>`, which stays registered for `'a`.
    unsafe fn mirror<'a>(mirror: *mut bindings::hmm_mirror) -> &'a Mirror<T> {
        // SAFETY: By the safety requirements this is a field of a `Mirror<T>`. By its type
        // invariants it is initialised while it is registered, and it is unregistered before it
        // is dropped, so it is valid for `'a`.
        unsafe { &*crate::container_of!(Opaque::cast_from(mirror), Mirror<T>, raw) }
    }

    /// # Safety
    ///
    /// To be called by the registry only, for a mirror that was registered with [`Self::OPS`]. The
    /// mirror stays registered, and `invalidation` valid, until this returns.
    unsafe extern "C" fn invalidate(
        mirror: *mut bindings::hmm_mirror,
        invalidation: *const RawInvalidation,
    ) -> bool {
        // SAFETY: `Self::OPS` belongs to a `Mirror<T>`, which stays registered until we return.
        let mirror = unsafe { Self::mirror(mirror) };
        // SAFETY: The registry passes a nonempty invalidation, which is valid until we return.
        let invalidation = unsafe { Invalidation::from_raw(invalidation) };

        Self::one_pass(mirror, &invalidation).is_ok()
    }

    /// # Safety
    ///
    /// As for [`Self::invalidate`].
    unsafe extern "C" fn invalidate_end(
        mirror: *mut bindings::hmm_mirror,
        invalidation: *const RawInvalidation,
    ) {
        // SAFETY: `Self::OPS` belongs to a `Mirror<T>`, which stays registered until we return.
        let mirror = unsafe { Self::mirror(mirror) };
        // SAFETY: The registry passes a nonempty invalidation, which is valid until we return.
        let invalidation = unsafe { Invalidation::from_raw(invalidation) };

        // What must not block cannot be refused here any more, and must not wait for a mutex.
        if Self::may_call(&invalidation) {
            let mut table = mirror.lock();

            mirror.ops().invalidate_end(table.as_mut(), &invalidation);
        }
    }

    /// # Safety
    ///
    /// As for [`Self::invalidate`].
    unsafe extern "C" fn release(mirror: *mut bindings::hmm_mirror) {
        // SAFETY: `Self::OPS` belongs to a `Mirror<T>`, which stays registered until we return.
        let mirror = unsafe { Self::mirror(mirror) };

        let mut table = mirror.lock();

        table.set_released();
        mirror.ops().release(table.as_mut());
    }
}

impl<T: TwoPassOps> Callbacks<T> {
    #[inline]
    fn first_pass(
        mirror: &Mirror<T>,
        invalidation: &Invalidation<'_>,
    ) -> Result<Option<T::Fence>, WouldBlock> {
        if !Self::may_call(invalidation) {
            return Self::without_blocking(mirror, invalidation).map(|()| None);
        }

        let mut table = mirror.lock();

        table.invalidate_frames(invalidation);
        Ok(mirror.ops().invalidate_start(table.as_mut(), invalidation))
    }

    /// Invalidates as the registry does, for what may block.
    pub(super) fn both_passes(mirror: &Mirror<T>, invalidation: &Invalidation<'_>) {
        if let Ok(Some(fence)) = Self::first_pass(mirror, invalidation) {
            mirror.ops().invalidate_finish(invalidation, fence);
        }
    }

    /// # Safety
    ///
    /// As for [`Self::invalidate`], and `flush` is valid for writes.
    pub(super) unsafe extern "C" fn invalidate_start(
        mirror: *mut bindings::hmm_mirror,
        invalidation: *const RawInvalidation,
        flush: *mut u64,
    ) -> bool {
        // SAFETY: `Self::OPS` belongs to a `Mirror<T>`, which stays registered until we return.
        let mirror = unsafe { Self::mirror(mirror) };
        // SAFETY: The registry passes a nonempty invalidation, which is valid until we return.
        let invalidation = unsafe { Invalidation::from_raw(invalidation) };

        let Ok(started) = Self::first_pass(mirror, &invalidation) else {
            return false;
        };
        // SAFETY: The registry passes a place for the flush. 0 stands for none.
        unsafe { flush.write(started.map_or(0, |fence| fence.into_raw().get())) };
        true
    }

    /// # Safety
    ///
    /// As for [`Self::invalidate`].
    pub(super) unsafe extern "C" fn invalidate_finish(
        mirror: *mut bindings::hmm_mirror,
        invalidation: *const RawInvalidation,
        flush: u64,
    ) {
        // SAFETY: `Self::OPS` belongs to a `Mirror<T>`, which stays registered until we return.
        let mirror = unsafe { Self::mirror(mirror) };
        // SAFETY: The registry passes a nonempty invalidation, which is valid until we return.
        let invalidation = unsafe { Invalidation::from_raw(invalidation) };

        if let Some(flush) = NonZeroU64::new(flush) {
            // SAFETY: `invalidate_start` has stored it for this invalidation, and the registry
            // calls this once for it.
            let fence = unsafe { T::Fence::from_raw(flush) };

            mirror.ops().invalidate_finish(&invalidation, fence);
        }
    }
}
