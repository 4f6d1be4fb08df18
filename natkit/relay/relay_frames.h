// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The packet as relay.bpf.c has it, whichever hook that runs at: where it begins and ends, what it
// sums up to, how it gets room for other headers, and what becomes of it.
//
// Which hook it is, is known when this is compiled, so that nothing is asked about it later.

#pragma once

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>

#include "relay_datagram.h"
#include "relay_sums.h"
#include "relay_tables.h"
#include "relay_tc.h"
#include "relay_xdp.h"

enum hook { AT_XDP, AT_TC };

struct frame {
	void *ctx; // struct xdp_md, or struct __sk_buff
	enum hook hook;
};

static __always_inline void *data_of(struct frame frame)
{
	if (frame.hook == AT_XDP)
		return (void *)(long)((struct xdp_md *)frame.ctx)->data;
	return (void *)(long)((struct __sk_buff *)frame.ctx)->data;
}

static __always_inline void *end_of(struct frame frame)
{
	if (frame.hook == AT_XDP)
		return (void *)(long)((struct xdp_md *)frame.ctx)->data_end;
	return (void *)(long)((struct __sk_buff *)frame.ctx)->data_end;
}

// The interface that it came in by.
static __always_inline __u32 interface_of(struct frame frame)
{
	if (frame.hook == AT_XDP)
		return ((struct xdp_md *)frame.ctx)->ingress_ifindex;
	return ((struct __sk_buff *)frame.ctx)->ifindex;
}

// Whether it is several datagrams in one, which only the system can tell apart.
static __always_inline bool is_several(struct frame frame)
{
	return frame.hook == AT_TC && ((struct __sk_buff *)frame.ctx)->gso_size;
}

// Have the first ``size`` bytes, if there are so many, between data_of() and end_of().
static __always_inline void reach(struct frame frame, __u32 size)
{
	if (frame.hook == AT_TC)
		skb_reach(frame.ctx, size);
}

static __always_inline __u32 sum_of(struct frame frame, __u32 offset, __u32 length)
{
	if (frame.hook == AT_XDP)
		return sum_in_xdp(frame.ctx, offset, length);
	return sum_in_skb(frame.ctx, offset, length);
}

// Whether a datagram may be changed whose checksum has the pseudo header alone; ``is_right`` where
// that is the sum of the data, too.
static __always_inline enum verdict without_sum(struct frame frame, struct datagram *d,
                                                const struct device *device, bool is_right)
{
	if (frame.hook == AT_XDP)
		return xdp_without_sum(device);
	return skb_without_sum(frame.ctx, d, is_right);
}

// Whether the checksum is left to whoever sends the packet.
static __always_inline bool is_unfinished(struct frame frame, const struct datagram *d)
{
	return frame.hook == AT_TC && d->is_unfinished;
}

// The tag that is written for a device, or 0: here, beside the packet.
static __always_inline __u16 vlan_in(struct frame frame, const struct device *device)
{
	return frame.hook == AT_XDP ? device->vlan : 0;
}

// Make room for headers of ``headers`` bytes before the data, and end the packet after ``after``
// bytes more than the data; PASS: all is as it was, DROP: the packet is spoilt.
static __always_inline enum verdict resize(struct frame frame, const struct datagram *d,
                                           __u32 headers, __u32 after)
{
	if (frame.hook == AT_XDP)
		return xdp_resize(frame.ctx, d, headers, after);
	return skb_resize(frame.ctx, d, headers, after);
}

// What becomes of it: the system has it as it came, nobody has it, it leaves.

static __always_inline int pass(struct frame frame)
{
	return frame.hook == AT_XDP ? XDP_PASS : TC_ACT_UNSPEC;
}

static __always_inline int drop(struct frame frame)
{
	return frame.hook == AT_XDP ? XDP_DROP : TC_ACT_SHOT;
}

// What cannot be, as only the verifier does not know.
static __always_inline int give_up(struct frame frame)
{
	return frame.hook == AT_XDP ? XDP_ABORTED : TC_ACT_SHOT;
}

// Whether it can leave by ``to``, where it came by a device with ``flags``: what a driver hands out
// before the system has it, only another driver takes.
static __always_inline bool can_leave_by(struct frame frame, __u8 flags, const struct device *to)
{
	return frame.hook == AT_TC || !(to->flags & ~flags & RUNS_ON_SKB);
}

static __always_inline int send(struct frame frame, const struct device *device)
{
	if (frame.hook == AT_XDP)
		return xdp_send(frame.ctx, device);
	return skb_send(frame.ctx, device);
}
