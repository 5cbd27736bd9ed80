// SPDX-License-Identifier: GPL-2.0

//! The callbacks that the registry calls.

use super::{
    invalidation::RawInvalidation,
    Invalidation,
    Mirror,
    MirrorLock,
    MirrorOps,
    TableGuard, //
};
use crate::{
    bindings,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    num::NonZeroU64, //
};

/// The C callbacks of a [`Mirror<T>`].
pub(super) struct Callbacks<T: MirrorOps>(PhantomData<T>);

impl<T: MirrorOps> Callbacks<T> {
    pub(super) const OPS: bindings::hmm_mirror_ops = {
        assert!(
            T::HAS_INVALIDATE != T::HAS_INVALIDATE_START
                && T::HAS_INVALIDATE_START == T::HAS_INVALIDATE_FINISH,
            "a mirror has `invalidate`, or `invalidate_start` and `invalidate_finish`"
        );
        assert!(
            !(T::CPU_ACCESS && T::HAS_OWNER),
            "the CPU cannot access device private memory"
        );

        bindings::hmm_mirror_ops {
            sync_cpu_device_pagetables: None,
            invalidate: if T::HAS_INVALIDATE {
                Some(Self::invalidate)
            } else {
                None
            },
            invalidate_start: if T::HAS_INVALIDATE_START {
                Some(Self::invalidate_start)
            } else {
                None
            },
            invalidate_finish: if T::HAS_INVALIDATE_FINISH {
                Some(Self::invalidate_finish)
            } else {
                None
            },
            release: if T::HAS_RELEASE {
                Some(Self::release)
            } else {
                None
            },
            flags: if T::Lock::ATOMIC {
                bindings::hmm_mirror_flags_HMM_MIRROR_ATOMIC
            } else {
                0
            },
        }
    };

    /// Invalidates the whole address space, as if it went away.
    pub(super) fn invalidate_all(mirror: &Mirror<T>) {
        let invalidation = Invalidation::everything();

        if T::HAS_INVALIDATE {
            Self::one_pass(mirror, &invalidation);
        } else if let Some(flush) = Self::first_pass(mirror, &invalidation) {
            mirror.ops().invalidate_finish(&invalidation, flush);
        }
    }

    #[inline]
    fn one_pass(mirror: &Mirror<T>, invalidation: &Invalidation<'_>) {
        let mut locked = mirror.lock();

        TableGuard::invalidate_frames(&mut locked, invalidation);
        mirror.ops().invalidate(&mut locked, invalidation);
    }

    #[inline]
    fn first_pass(mirror: &Mirror<T>, invalidation: &Invalidation<'_>) -> Option<NonZeroU64> {
        let mut locked = mirror.lock();

        TableGuard::invalidate_frames(&mut locked, invalidation);
        mirror.ops().invalidate_start(&mut locked, invalidation)
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
    ) {
        // SAFETY: `Self::OPS` belongs to a `Mirror<T>`, which stays registered until we return.
        let mirror = unsafe { Self::mirror(mirror) };
        // SAFETY: The registry passes a nonempty invalidation, which is valid until we return.
        let invalidation = unsafe { Invalidation::from_raw(invalidation) };

        Self::one_pass(mirror, &invalidation);
    }

    /// # Safety
    ///
    /// As for [`Self::invalidate`].
    unsafe extern "C" fn invalidate_start(
        mirror: *mut bindings::hmm_mirror,
        invalidation: *const RawInvalidation,
    ) -> u64 {
        // SAFETY: `Self::OPS` belongs to a `Mirror<T>`, which stays registered until we return.
        let mirror = unsafe { Self::mirror(mirror) };
        // SAFETY: The registry passes a nonempty invalidation, which is valid until we return.
        let invalidation = unsafe { Invalidation::from_raw(invalidation) };

        Self::first_pass(mirror, &invalidation).map_or(0, NonZeroU64::get)
    }

    /// # Safety
    ///
    /// As for [`Self::invalidate`].
    unsafe extern "C" fn invalidate_finish(
        mirror: *mut bindings::hmm_mirror,
        invalidation: *const RawInvalidation,
        flush: u64,
    ) {
        // SAFETY: `Self::OPS` belongs to a `Mirror<T>`, which stays registered until we return.
        let mirror = unsafe { Self::mirror(mirror) };
        // SAFETY: The registry passes a nonempty invalidation, which is valid until we return.
        let invalidation = unsafe { Invalidation::from_raw(invalidation) };

        if let Some(flush) = NonZeroU64::new(flush) {
            mirror.ops().invalidate_finish(&invalidation, flush);
        }
    }

    /// # Safety
    ///
    /// As for [`Self::invalidate`].
    unsafe extern "C" fn release(mirror: *mut bindings::hmm_mirror) {
        // SAFETY: `Self::OPS` belongs to a `Mirror<T>`, which stays registered until we return.
        let mirror = unsafe { Self::mirror(mirror) };

        mirror.ops().release(&mut mirror.lock());
    }
}
