// SPDX-License-Identifier: GPL-2.0

//! Tests of faults and commits.

use super::*;

#[kunit_tests(rust_kernel_hmm_fault)]
mod suite {
    use super::*;

    #[test]
    fn invalidation_in_between_makes_stale() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Device)?;

        let fresh = commit_after(&mirror, pages(addr, 0, 1)?, || Ok(()));
        let stale = commit_after(&mirror, pages(addr, 0, 1)?, || munmap(pages(addr, 0, 1)?));

        assert_eq!(fresh, Ok(true));
        assert_eq!(stale, Ok(false));
        Ok(())
    }

    #[test]
    fn unrelated_invalidation_in_between_does_not() -> Result {
        attach_mm()?;
        let addr = mmap(3, true)?;
        let mirror = mirror!(Device)?;

        put_user(addr, &[1])?;
        put_user(addr + 2 * PAGE_SIZE, &[1])?;
        let fresh = commit_after(&mirror, pages(addr, 1, 1)?, || {
            munmap(pages(addr, 0, 1)?)?;
            munmap(pages(addr, 2, 1)?)
        });

        assert_eq!(fresh, Ok(true));
        Ok(())
    }

    /// Memory that is never enough at first.
    struct Scarce {
        need: usize,
    }

    impl Reserve<Table> for Scarce {
        fn need(table: &Table, range: PageRange) -> usize {
            // How often it was asked for, and for how much.
            (table.calls.attempt.fetch_add(1, Relaxed) as usize + 1) * range.pages().as_usize()
        }

        fn allocate(need: usize) -> Result<Self> {
            Ok(Self { need })
        }
    }

    /// Faults two pages in with a reserve, which is enough when it was made `enough` times.
    fn map_scarcely(mirror: &Mirror<Device>, addr: usize, enough: usize) -> Result<usize> {
        let mut buffer = FaultBuffer::new(PageCount::new(2), GFP_KERNEL)?;
        let mut faulter = mirror.faulter();

        pin_init::stack_try_pin_init!(
            let range: FaultRange<'_, Device> =? faulter.range(pages(addr, 0, 2)?, &mut buffer)
        );
        Ok(range.as_mut().with_reserve(|range, scarce: &mut Scarce| {
            range.map(Read, |_, pages| {
                if scarce.need < 2 * enough {
                    Err(Short)
                } else {
                    Ok(pages.count())
                }
            })
        })?)
    }

    #[test]
    fn what_is_reserved_is_reserved_again() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let (one, two) = (mirror!(Device)?, mirror!(Device)?);

        let third = map_scarcely(&one, addr, 3);
        let never = map_scarcely(&two, addr, usize::MAX / 2);
        let tries = one.faulter().lock().calls.attempt.load(Relaxed);

        assert_eq!(third, Ok(2));
        assert_eq!(tries, 3);
        assert_eq!(never, Err(EBUSY));
        Ok(())
    }

    #[test]
    fn range_can_be_faulted_again() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;
        let mut faulter = mirror.faulter();
        let commits = {
            pin_init::stack_try_pin_init!(
                let range: FaultRange<'_, Device> =?
                    faulter.range(pages(addr, 0, 1)?, &mut buffer)
            );
            let first = range.as_mut().fault(Read)?.commit(|_, _| ());
            // The process writes, which replaces the zero page.
            put_user(addr, &[1])?;
            let second = range
                .as_mut()
                .fault(Write)?
                .commit(|_, mut pages| pages.next().is_some());
            (first, second)
        };

        assert_eq!(commits, (Ok(()), Ok(true)));
        Ok(())
    }

    /// Returns whether a page that a commit lends is dirty.
    fn is_dirty<A: Access>(page: &Page<'_, Device, A>) -> bool {
        // SAFETY: The page is mapped while it is lent, and it is a small one.
        let flags = unsafe { (*HmmPfn(page.pfn().as_usize()).page(0)).flags.f };

        flags >> bindings::pageflags_PG_dirty & 1 != 0
    }

    #[test]
    fn pages_lent_for_writing_are_dirty() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;
        let mut faulter = mirror.faulter();

        // The CPU's entry is dirty then, which is of no use after MADV_FREE.
        put_user(addr, &[1])?;
        put_user(addr + PAGE_SIZE, &[1])?;
        let read = faulter.map(pages(addr, 0, 1)?, &mut buffer, Read, |_, mut pages| {
            pages.next().map(|page| {
                let lent = is_dirty(&page);

                (lent, page.writable().is_some(), is_dirty(&page))
            })
        });
        let write = faulter.map(pages(addr, 1, 1)?, &mut buffer, Write, |_, mut pages| {
            pages.next().map(|page| is_dirty(&page))
        });

        assert_eq!(read, Ok(Some((false, true, true))));
        assert_eq!(write, Ok(Some(true)));
        Ok(())
    }

    #[test]
    fn permissions_are_those_of_the_process() -> Result {
        attach_mm()?;
        let addr = mmap(2, false)?;
        let mirror = mirror!(Device)?;

        let write = map(&mirror, pages(addr, 0, 1)?, Write);
        let read = map(&mirror, pages(addr, 0, 1)?, Read);
        let wrote = {
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            write_first(&table, 0, &[1])
        };
        munmap(pages(addr, 0, 1)?)?;
        let hole = map(&mirror, pages(addr, 0, 1)?, Read);

        assert_eq!(write, Err(FaultError::ReadOnly));
        assert_eq!(read, Ok(1));
        assert!(wrote.is_none());
        assert_eq!(hole, Err(FaultError::Unmapped));
        Ok(())
    }

    #[test]
    fn snapshot_faults_nothing_in() -> Result {
        attach_mm()?;
        let addr = mmap(4, true)?;
        let mirror = mirror!(Device)?;

        put_user(addr + 2 * PAGE_SIZE, &[1])?;
        let filled = map(&mirror, pages(addr, 0, 4)?, Present);
        let again = map(&mirror, pages(addr, 0, 4)?, Present);

        assert_eq!(filled, Ok(1));
        assert_eq!(again, Ok(1));
        Ok(())
    }

    #[test]
    fn bad_ranges_are_refused() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror!(Device)?;

        let top =
            PageRange::from_bounds(mirror.end_address(), VirtAddr::new(usize::MAX).page_start());
        for range in [pages(addr, 0, 17)?, top?] {
            assert_eq!(map(&mirror, range, Read), Err(FaultError::Unmapped));
        }
        Ok(())
    }

    #[test]
    fn each_page_as_it_is_requested() -> Result {
        attach_mm()?;
        let addr = mmap(3, true)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::new(3), GFP_KERNEL)?;
        let mut faulter = mirror.faulter();
        let requests = [PageRequest::Write, PageRequest::Present, PageRequest::Read];

        munmap(pages(addr, 1, 1)?)?;
        let seen = {
            pin_init::stack_try_pin_init!(
                let range: FaultRange<'_, Device> =? faulter.range(pages(addr, 0, 3)?, &mut buffer)
            );
            let index = |at: VirtAddr| (at.as_usize() - addr) >> PAGE_SHIFT;
            let commit = |faulted: Faulted<'_, '_, Device, Read>| {
                faulted.commit(|_, pages| {
                    let mut seen = [None; 3];

                    for page in pages {
                        seen[index(page.addr())] = Some(page.writable().is_some());
                    }
                    seen
                })
            };
            let nothing = commit(range.as_mut().fault_each(|_| PageRequest::Present)?);
            let some = commit(range.as_mut().fault_each(|at| requests[index(at)])?);

            (nothing, some, range.as_mut().fault(Read).map(|_| ()))
        };

        assert_eq!(seen.0, Ok([None; 3]));
        assert!(matches!(seen.1, Ok([Some(true), None, Some(_)])));
        assert_eq!(seen.2, Err(FaultError::Unmapped));
        Ok(())
    }

    #[test]
    fn impossible_requests_fail() -> Result {
        attach_mm()?;
        let addr = mmap(1, false)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;
        let mut faulter = mirror.faulter();
        let done = {
            pin_init::stack_try_pin_init!(
                let range: FaultRange<'_, Device> =? faulter.range(pages(addr, 0, 1)?, &mut buffer)
            );
            let write = range
                .as_mut()
                .fault_each(|_| PageRequest::Write)
                .map(|_| ());
            // What one fault asked for does not stay for the next.
            (write, range.as_mut().fault(Read).map(|_| ()))
        };

        assert_eq!(done, (Err(FaultError::ReadOnly), Ok(())));
        Ok(())
    }

    #[test]
    fn requests_are_made_again_after_a_collision() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        // A write replaces the zero page, which invalidates the range.
        get_user(addr + PAGE_SIZE, &mut [0])?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::new(2), GFP_KERNEL)?;
        let mut faulter = mirror.faulter();
        let mut requests = 0;
        let seen = {
            pin_init::stack_try_pin_init!(
                let range: FaultRange<'_, Device> =? faulter.range(pages(addr, 0, 2)?, &mut buffer)
            );
            let faulted = range.as_mut().fault_each(|at| {
                requests += 1;
                if at.as_usize() == addr {
                    PageRequest::Present
                } else {
                    PageRequest::Write
                }
            })?;

            let seen = faulted.commit(|_, pages| {
                let mut seen = [None; 2];

                for page in pages {
                    seen[(page.addr().as_usize() - addr) / PAGE_SIZE] =
                        Some(page.writable().is_some());
                }
                seen
            });
            // The next fault is for all pages, and is made again as well.
            get_user(addr, &mut [0])?;
            (seen, range.as_mut().fault(Write).map(|_| ()))
        };

        assert_eq!(seen, (Ok([None, Some(true)]), Ok(())));
        assert_eq!(requests, 4);
        Ok(())
    }

    #[test]
    fn range_in_flight_knows_when_it_is_stale() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;
        let mut faulter = mirror.faulter();
        let seen = {
            pin_init::stack_try_pin_init!(
                let range: FaultRange<'_, Device> =? faulter.range(pages(addr, 0, 1)?, &mut buffer)
            );
            let never = range.as_mut().lock_committed().is_ok()
                || range.as_mut().recommit(|_, _| ()).is_ok();
            let faulted = range.as_mut().fault(Write)?;
            let committed = faulted.commit(|_, _| ()).is_ok();
            munmap(pages(addr, 1, 1)?)?;
            let fresh = range.as_mut().lock_committed().is_ok()
                && range.as_mut().recommit(|_, pages| pages.count()) == Ok(1);
            munmap(pages(addr, 0, 1)?)?;
            let stale = range.as_mut().lock_committed().is_ok()
                || range.as_mut().recommit(|_, _| ()).is_ok();
            let gone = range.as_mut().fault(Present).map(|_| ());
            // It was read, and what was read was dropped.
            let dropped = range.as_mut().lock_committed().is_ok();

            (never, committed, fresh, stale, gone, dropped)
        };

        assert_eq!(seen, (false, true, true, false, Ok(()), false));
        Ok(())
    }

    #[test]
    fn owned_range_belongs_to_an_object() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let table = Table::new()?;
        let calls = table.calls.clone();
        let task = current!();
        let mm = task.mm().ok_or(ESRCH)?;
        let mirror = Arc::pin_init(new_mirror!(mm, Device, table), GFP_KERNEL)?;
        let keep = |range, room| {
            let buffer = FaultBuffer::new(PageCount::new(room), GFP_KERNEL)?;
            KBox::pin_init(
                OwnedFaultRange::new(mirror.clone(), range, buffer),
                GFP_KERNEL,
            )
        };

        let no_room = keep(pages(addr, 0, 2)?, 1).map(|_| ());
        let mut first = keep(pages(addr, 0, 1)?, 1)?;
        let mut second = keep(pages(addr, 1, 1)?, 1)?;
        let mut seen = KVec::with_capacity(4, GFP_KERNEL)?;

        drop(mirror);
        for owned in [&mut first, &mut second] {
            let faulted = owned.as_mut().range().fault(Write)?;
            let filled = faulted.commit(|table, pages| table.fill(pages));
            seen.push_within_capacity(filled == Ok(1))?;
        }
        munmap(pages(addr, 0, 1)?)?;
        for owned in [&mut first, &mut second] {
            let still = owned.as_mut().range().lock_committed().is_ok();
            seen.push_within_capacity(still)?;
        }
        let entries = second.as_mut().range().lock().entries.len();
        let invalidated = calls.invalidate.load(Relaxed);

        // The mirror goes with the last range, and takes all out before.
        drop(first);
        let before = calls.invalidate.load(Relaxed);
        drop(second);
        let after = calls.invalidate.load(Relaxed);
        munmap(pages(addr, 1, 1)?)?;

        assert_eq!(no_room, Err(EINVAL));
        assert_eq!(seen[..], [true, true, false, true]);
        assert_eq!((entries, invalidated), (1, 1));
        assert_eq!((before, after, calls.invalidate.load(Relaxed)), (1, 2, 2));
        assert_eq!(calls.left.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn faults_have_a_time_limit() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;
        let mut faulter = mirror.faulter();
        let (ended, took) = {
            pin_init::stack_try_pin_init!(
                let range: FaultRange<'_, Device> =? faulter.range(pages(addr, 0, 1)?, &mut buffer)
            );
            let begun = Instant::<Monotonic>::now();
            let event = bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR;
            let invalidation =
                InvalidationInProgress::new(pages(addr, 0, 1)?, event, ptr::null_mut());
            let ended = range
                .as_mut()
                .fault_timeout(Read, Delta::from_millis(30))
                .map(|_| ());

            drop(invalidation);
            (ended, begun.elapsed().as_millis())
        };

        assert_eq!(ended, Err(FaultError::Busy));
        assert!((20..900).contains(&took));
        Ok(())
    }

    #[test]
    fn pages_know_whether_they_are_device_private() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::new(2), GFP_KERNEL)?;

        let seen = mirror
            .faulter()
            .map(pages(addr, 0, 2)?, &mut buffer, Write, |_, pages| {
                let mut seen = [true; 2];

                for (page, private) in pages.zip(&mut seen) {
                    *private = page.is_device_private();
                }
                seen
            })?;

        assert_eq!(seen, [false; 2]);
        Ok(())
    }

    #[test]
    fn errors_have_a_number_each() -> Result {
        for (error, number) in [
            (FaultError::Unmapped, EFAULT),
            (FaultError::ReadOnly, EPERM),
            (FaultError::Dead, ESRCH),
            (FaultError::Busy, EBUSY),
            (FaultError::Killed, EINTR),
            (FaultError::NoMemory, ENOMEM),
        ] {
            assert_eq!(Error::from(error), number);
            assert_eq!(FaultError::from_raw(number), error);
        }
        assert_eq!(FaultError::from_raw(EINVAL), FaultError::Unmapped);
        assert_eq!(FaultError::from_raw(EAGAIN), FaultError::Busy);
        Ok(())
    }

    #[test]
    fn stale_results_ask_to_try_again() -> Result {
        assert_eq!(Error::from(Stale), EAGAIN);
        assert_eq!(Error::from(StaleFrame), EAGAIN);
        assert_eq!(Error::from(WouldBlock), EAGAIN);
        Ok(())
    }
}
