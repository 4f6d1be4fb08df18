// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Sums of a packet's bytes (RFC 1071), for each hook.
//
// Little-endian: sums of 16-bit words are kept in memory order, as RFC 1071 allows.

#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "relay_datagram.h"

#define SUM_FAILED 0xffffffffu

// So many bytes the kernel sums up in less time than it takes here, though it must be called; no
// more than it takes at a time, which is 512.
#define LONG 256

// The ones' complement sum of ``length`` bytes at ``offset`` of a packet, in 16 bits; or SUM_FAILED.
static __always_inline __u32 sum_between(void *at, void *end, __u32 offset, __u32 length)
{
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

// Functions of their own, which the verifier looks at once.

__attribute__((noinline)) __u32 sum_in_xdp(struct xdp_md *ctx, __u32 offset, __u32 length)
{
	return sum_between((void *)(long)ctx->data, (void *)(long)ctx->data_end, offset, length);
}

__attribute__((noinline)) __u32 sum_in_skb(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	return sum_between((void *)(long)skb->data, (void *)(long)skb->data_end, offset, length);
}
