// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Makes of a packet what it was before the last run, and has another program treat it again: so the
// kernel can run that one a million times.

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define MOST_CHANGED 128

struct original {
	__u32 length;
	__s32 ahead;  // where it begins, seen from where it begins after a run
	__s32 beyond; // where it ends, the same way
	__u8 bytes[MOST_CHANGED]; // of what a run may change, the beginning
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct original);
} original SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} measured SEC(".maps");

SEC("xdp")
int run_again(struct xdp_md *ctx)
{
	__u32 only = 0;
	struct original *first = bpf_map_lookup_elem(&original, &only);

	if (!first)
		return XDP_ABORTED;

	__u32 changed = first->length < MOST_CHANGED ? first->length : MOST_CHANGED;

	// Keeps the compiler from knowing what the verifier does not.
	asm volatile("" : "+r"(changed));
	if (ctx->data_end - ctx->data != first->length) {
		if (bpf_xdp_adjust_head(ctx, first->ahead))
			return XDP_ABORTED;
		if (first->beyond && bpf_xdp_adjust_tail(ctx, first->beyond))
			return XDP_ABORTED;
	}
	if (changed == 0 || changed > MOST_CHANGED ||
	    bpf_xdp_store_bytes(ctx, 0, first->bytes, changed))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &measured, 0);
	return XDP_DROP;
}
