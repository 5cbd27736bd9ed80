/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What HMM mirroring does, see Documentation/admin-guide/mm/hmm_mirror.rst.
 * Addresses are in
 * bytes, ends are exclusive.  The pointers that are printed are hashed, and the
 * same as in debugfs.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM hmm

#if !defined(_TRACE_HMM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_HMM_H

#include <linux/hmm.h>
#include <linux/mmu_notifier.h>
#include <linux/tracepoint.h>

TRACE_DEFINE_ENUM(MMU_NOTIFY_UNMAP);
TRACE_DEFINE_ENUM(MMU_NOTIFY_CLEAR);
TRACE_DEFINE_ENUM(MMU_NOTIFY_PROTECTION_VMA);
TRACE_DEFINE_ENUM(MMU_NOTIFY_PROTECTION_PAGE);
TRACE_DEFINE_ENUM(MMU_NOTIFY_SOFT_DIRTY);
TRACE_DEFINE_ENUM(MMU_NOTIFY_RELEASE);
TRACE_DEFINE_ENUM(MMU_NOTIFY_MIGRATE);
TRACE_DEFINE_ENUM(MMU_NOTIFY_EXCLUSIVE);

#define show_mmu_notifier_event(event)					\
	__print_symbolic(event,						\
		{ MMU_NOTIFY_UNMAP,		"unmap" },		\
		{ MMU_NOTIFY_CLEAR,		"clear" },		\
		{ MMU_NOTIFY_PROTECTION_VMA,	"protection_vma" },	\
		{ MMU_NOTIFY_PROTECTION_PAGE,	"protection_page" },	\
		{ MMU_NOTIFY_SOFT_DIRTY,	"soft_dirty" },		\
		{ MMU_NOTIFY_RELEASE,		"release" },		\
		{ MMU_NOTIFY_MIGRATE,		"migrate" },		\
		{ MMU_NOTIFY_EXCLUSIVE,		"exclusive" })

DECLARE_EVENT_CLASS(hmm_mirror,

	TP_PROTO(const struct hmm_mirror *mirror, const struct mm_struct *mm),

	TP_ARGS(mirror, mm),

	TP_STRUCT__entry(
		__field(const void *,	mm)
		__field(const void *,	mirror)
		__string(name,		mirror->ops->name ?: "-")
	),

	TP_fast_assign(
		__entry->mm	= mm;
		__entry->mirror	= mirror;
		__assign_str(name);
	),

	TP_printk("mm=%p mirror=%p name=%s", __entry->mm, __entry->mirror,
		  __get_str(name))
);

/* A mirror was registered */
DEFINE_EVENT(hmm_mirror, hmm_register,
	TP_PROTO(const struct hmm_mirror *mirror, const struct mm_struct *mm),
	TP_ARGS(mirror, mm)
);

/* A mirror was unregistered: there are no more callbacks */
DEFINE_EVENT(hmm_mirror, hmm_unregister,
	TP_PROTO(const struct hmm_mirror *mirror, const struct mm_struct *mm),
	TP_ARGS(mirror, mm)
);

/* The address space of a mirror dies */
DEFINE_EVENT(hmm_mirror, hmm_release,
	TP_PROTO(const struct hmm_mirror *mirror, const struct mm_struct *mm),
	TP_ARGS(mirror, mm)
);

/* The CPU page table is about to change; the mirrors will be told */
TRACE_EVENT(hmm_invalidate_start,

	TP_PROTO(const struct mmu_notifier_range *update),

	TP_ARGS(update),

	TP_STRUCT__entry(
		__field(const void *,	mm)
		__field(unsigned long,	start)
		__field(unsigned long,	end)
		__field(int,		event)
		__field(const void *,	owner)
		__field(bool,		blockable)
	),

	TP_fast_assign(
		__entry->mm		= update->mm;
		__entry->start		= update->start;
		__entry->end		= update->end;
		__entry->event		= update->event;
		/* Only these are given one */
		__entry->owner		= update->event == MMU_NOTIFY_MIGRATE ||
					  update->event == MMU_NOTIFY_EXCLUSIVE ?
					  update->owner : NULL;
		__entry->blockable	= mmu_notifier_range_blockable(update);
	),

	TP_printk("mm=%p [0x%lx, 0x%lx) event=%s owner=%p blockable=%d",
		  __entry->mm, __entry->start, __entry->end,
		  show_mmu_notifier_event(__entry->event), __entry->owner,
		  __entry->blockable)
);

/* The CPU page table has changed, or is not going to.  Stays away for a release */
TRACE_EVENT(hmm_invalidate_end,

	TP_PROTO(const struct mm_struct *mm, unsigned long start,
		 unsigned long end),

	TP_ARGS(mm, start, end),

	TP_STRUCT__entry(
		__field(const void *,	mm)
		__field(unsigned long,	start)
		__field(unsigned long,	end)
	),

	TP_fast_assign(
		__entry->mm	= mm;
		__entry->start	= start;
		__entry->end	= end;
	),

	TP_printk("mm=%p [0x%lx, 0x%lx)", __entry->mm, __entry->start,
		  __entry->end)
);

/* A mirror refuses an update that must not sleep */
TRACE_EVENT(hmm_veto,

	TP_PROTO(const struct hmm_mirror *mirror,
		 const struct mmu_notifier_range *update),

	TP_ARGS(mirror, update),

	TP_STRUCT__entry(
		__field(const void *,	mm)
		__field(const void *,	mirror)
		__field(unsigned long,	start)
		__field(unsigned long,	end)
	),

	TP_fast_assign(
		__entry->mm	= update->mm;
		__entry->mirror	= mirror;
		__entry->start	= update->start;
		__entry->end	= update->end;
	),

	TP_printk("mm=%p mirror=%p [0x%lx, 0x%lx)", __entry->mm,
		  __entry->mirror, __entry->start, __entry->end)
);

/* A mirror's callback has taken longer than hmm.slow_callback_ms */
TRACE_EVENT(hmm_slow,

	TP_PROTO(const struct hmm_mirror *mirror,
		 const struct mmu_notifier_range *update, unsigned int ms),

	TP_ARGS(mirror, update, ms),

	TP_STRUCT__entry(
		__field(const void *,	mm)
		__field(const void *,	mirror)
		__field(unsigned long,	start)
		__field(unsigned long,	end)
		__field(int,		event)
		__field(unsigned int,	ms)
		__string(name,		mirror->ops->name ?: "-")
	),

	TP_fast_assign(
		__entry->mm	= update->mm;
		__entry->mirror	= mirror;
		__entry->start	= update->start;
		__entry->end	= update->end;
		__entry->event	= update->event;
		__entry->ms	= ms;
		__assign_str(name);
	),

	TP_printk("mm=%p mirror=%p name=%s [0x%lx, 0x%lx) event=%s ms=%u",
		  __entry->mm, __entry->mirror, __get_str(name), __entry->start,
		  __entry->end, show_mmu_notifier_event(__entry->event),
		  __entry->ms)
);

DECLARE_EVENT_CLASS(hmm_range,

	TP_PROTO(const struct hmm_mirror_range *range),

	TP_ARGS(range),

	TP_STRUCT__entry(
		__field(const void *,	mm)
		__field(const void *,	mirror)
		__field(unsigned long,	start)
		__field(unsigned long,	end)
	),

	TP_fast_assign(
		__entry->mm	= range->notifier.mm;
		__entry->mirror	= range->mirror;
		__entry->start	= range->start;
		__entry->end	= range->end;
	),

	TP_printk("mm=%p mirror=%p [0x%lx, 0x%lx)", __entry->mm,
		  __entry->mirror, __entry->start, __entry->end)
);

/* hmm_mirror_range_fault() begins */
DEFINE_EVENT(hmm_range, hmm_fault_begin,
	TP_PROTO(const struct hmm_mirror_range *range),
	TP_ARGS(range)
);

/* It has to wait for an invalidation of its range */
DEFINE_EVENT(hmm_range, hmm_wait,
	TP_PROTO(const struct hmm_mirror_range *range),
	TP_ARGS(range)
);

/* hmm_mirror_range_fault() returns */
TRACE_EVENT(hmm_fault_end,

	TP_PROTO(const struct hmm_mirror_range *range, int ret),

	TP_ARGS(range, ret),

	TP_STRUCT__entry(
		__field(const void *,	mm)
		__field(const void *,	mirror)
		__field(unsigned long,	start)
		__field(unsigned long,	end)
		__field(int,		ret)
	),

	TP_fast_assign(
		__entry->mm	= range->notifier.mm;
		__entry->mirror	= range->mirror;
		__entry->start	= range->start;
		__entry->end	= range->end;
		__entry->ret	= ret;
	),

	TP_printk("mm=%p mirror=%p [0x%lx, 0x%lx) ret=%d", __entry->mm,
		  __entry->mirror, __entry->start, __entry->end, __entry->ret)
);

/* An invalidation hits a range in flight */
TRACE_EVENT(hmm_collision,

	TP_PROTO(const struct hmm_mirror_range *range, unsigned long inv_start,
		 unsigned long inv_end),

	TP_ARGS(range, inv_start, inv_end),

	TP_STRUCT__entry(
		__field(const void *,	mm)
		__field(const void *,	mirror)
		__field(unsigned long,	start)
		__field(unsigned long,	end)
		__field(unsigned long,	inv_start)
		__field(unsigned long,	inv_end)
	),

	TP_fast_assign(
		__entry->mm		= range->notifier.mm;
		__entry->mirror		= range->mirror;
		__entry->start		= range->start;
		__entry->end		= range->end;
		__entry->inv_start	= inv_start;
		__entry->inv_end	= inv_end;
	),

	TP_printk("mm=%p mirror=%p [0x%lx, 0x%lx) hit by [0x%lx, 0x%lx)",
		  __entry->mm, __entry->mirror, __entry->start, __entry->end,
		  __entry->inv_start, __entry->inv_end)
);

#endif /* _TRACE_HMM_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
