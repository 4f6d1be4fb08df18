// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The packet as the hook has it at which relay.bpf.c runs: where it begins and ends, what it sums up
// to, how it gets room for other headers, and where it goes.
//
// Which hook it is, is known when this is compiled, so that nothing is asked about it later.

#pragma once

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "relay_datagram.h"

enum hook { AT_XDP };

struct frame {
	void *ctx; // struct xdp_md
	enum hook hook;
};

static __always_inline void *data_of(struct frame frame)
{
	return (void *)(long)((struct xdp_md *)frame.ctx)->data;
}

static __always_inline void *end_of(struct frame frame)
{
	return (void *)(long)((struct xdp_md *)frame.ctx)->data_end;
}

// The interface that it came in by.
static __always_inline __u32 interface_of(struct frame frame)
{
	return ((struct xdp_md *)frame.ctx)->ingress_ifindex;
}

#define SUM_FAILED 0xffffffffu

// So many bytes the kernel sums up in less time than it takes here, though it must be called; no
// more than it takes at a time, which is 512.
#define LONG 256

// Keeps the compiler from calculating with the packet's end, which the verifier does not allow.
#define AS_IT_IS(pointer) asm volatile("" : "+r"(pointer))

// The ones' complement sum of so many bytes of the packet, in 16 bits; or SUM_FAILED.
//
// A function of its own, which the verifier looks at once.
__attribute__((noinline)) __u32 sum_in_xdp(struct xdp_md *ctx, __u32 offset, __u32 length)
{
	void *end = (void *)(long)ctx->data_end;
	void *at = (void *)(long)ctx->data;
	__u64 sum = 0;

	if (offset > LARGEST_PACKET || length > LARGEST_PAYLOAD)
		return SUM_FAILED;
	at += offset;
#pragma clang loop unroll(disable)
	for (int i = 0; i < LARGEST_PAYLOAD / LONG; i++) {
		if (length < LONG)
			break;
		AS_IT_IS(end);
		if (at + LONG > end)
			return SUM_FAILED;

		__s64 part = bpf_csum_diff(0, 0, at, LONG, 0);

		if (part < 0)
			return SUM_FAILED;
		sum += part;
		at += LONG;
		length -= LONG;
	}
#pragma clang loop unroll(disable)
	for (int i = 0; i < LONG / 32; i++) {
		if (length < 32)
			break;
		AS_IT_IS(end);
		if (at + 32 > end)
			return SUM_FAILED;
		__u32 *word = at;

		sum += (__u64)word[0] + word[1] + word[2] + word[3];
		sum += (__u64)word[4] + word[5] + word[6] + word[7];
		at += 32;
		length -= 32;
	}
#pragma clang loop unroll(disable)
	for (int i = 0; i < 7; i++) {
		if (length < 4)
			break;
		AS_IT_IS(end);
		if (at + 4 > end)
			return SUM_FAILED;
		sum += *(__u32 *)at;
		at += 4;
		length -= 4;
	}
	AS_IT_IS(end);
	if (length & 2) {
		if (at + 2 > end)
			return SUM_FAILED;
		sum += *(__u16 *)at;
		at += 2;
	}
	AS_IT_IS(end);
	if (length & 1) {
		if (at + 1 > end)
			return SUM_FAILED;
		sum += *(__u8 *)at;
	}
	return fold(sum);
}

static __always_inline __u32 sum_of(struct frame frame, __u32 offset, __u32 length)
{
	return sum_in_xdp(frame.ctx, offset, length);
}

// Make room for headers of ``headers`` bytes before the data, and end the packet after ``after``
// bytes more than the data; false: nothing has changed.
static __always_inline bool resize(struct frame frame, const struct datagram *d, __u32 headers,
                                   __u32 after)
{
	struct xdp_md *ctx = frame.ctx;
	int ahead = (int)d->offset - (int)headers;

	if (ahead && bpf_xdp_adjust_head(ctx, ahead))
		return false;

	int beyond = (int)(headers + d->length + after) - (int)(ctx->data_end - ctx->data);

	if (beyond && bpf_xdp_adjust_tail(ctx, beyond)) {
		bpf_xdp_adjust_head(ctx, -ahead);
		return false;
	}
	return true;
}

// What becomes of it: the system has it as it came, nobody has it, it leaves.

static __always_inline int pass(struct frame frame __attribute__((unused)))
{
	return XDP_PASS;
}

static __always_inline int drop(struct frame frame __attribute__((unused)))
{
	return XDP_DROP;
}

// What cannot be, as only the verifier does not know.
static __always_inline int give_up(struct frame frame __attribute__((unused)))
{
	return XDP_ABORTED;
}

static __always_inline int send(struct frame frame, const struct device *device)
{
	return device->port == interface_of(frame) ? XDP_TX : bpf_redirect(device->port, 0);
}
