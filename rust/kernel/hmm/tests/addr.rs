// SPDX-License-Identifier: GPL-2.0

//! Tests of addresses and ranges of pages.

use super::*;

#[kunit_tests(rust_kernel_hmm_addr)]
mod suite {
    use super::*;

    #[test]
    fn ranges_are_of_whole_pages() -> Result {
        let (at, last) = (VirtAddr::new, usize::MAX & PAGE_MASK);

        for range in [
            PageRange::new(at(PAGE_SIZE), PageCount::new(0)),
            PageRange::new(at(PAGE_SIZE + 1), PageCount::ONE),
            PageRange::new(at(0), PageCount::new(usize::MAX)),
            PageRange::new(at(last), PageCount::ONE),
            PageRange::page_of(at(usize::MAX)),
            PageRange::from_bounds(at(0), at(PAGE_SIZE + 1)),
            PageRange::from_bounds(at(PAGE_SIZE), at(0)),
        ] {
            assert_eq!(range, Err(EINVAL));
        }
        assert_eq!(
            covering(0, usize::MAX),
            PageRange::from_bounds(at(0), at(last))?
        );
        assert_eq!(
            covering(PAGE_SIZE + 1, 2 * PAGE_SIZE + 1),
            PageRange::new(at(PAGE_SIZE), PageCount::new(2))?
        );
        Ok(())
    }

    #[test]
    fn ranges_have_pages_in_common() -> Result {
        let at = PAGE_SIZE;
        let range = pages(at, 2, 3)?;
        let common = |first, n| -> Result<_> { Ok(range.intersect(&pages(at, first, n)?)) };

        assert_eq!(common(0, 2)?, None);
        assert_eq!(common(0, 3)?, Some(pages(at, 2, 1)?));
        assert_eq!(common(3, 1)?, Some(pages(at, 3, 1)?));
        assert_eq!(common(0, 9)?, Some(range));
        assert_eq!(common(4, 9)?, Some(pages(at, 4, 1)?));
        assert_eq!(common(5, 9)?, None);
        assert!(range
            .addrs()
            .eq((3..6).map(|i| VirtAddr::new(i * PAGE_SIZE))));
        Ok(())
    }
}
