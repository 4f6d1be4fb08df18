// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Packets at the hook of traffic control (tc), where they are the system's own: behind any driver,
// at the end of a virtual cable, on loopback.
//
//     | Ethernet | IP | UDP | data | ... |       and beside them: the tag of a VLAN, and how far the
//     ^ data          ^ csum_start  | ^ len      checksum is, in ip_summed
//                                   ^ data_end: what follows may lie elsewhere in memory
//
// A sender on this machine leaves the sum of the data to a card: the checksum has that of the pseudo
// header alone, and csum_start remembers where the UDP header is, in memory.  No program can change
// that.  So the UDP header stays where it is, whatever is written into it; before it, IP headers of
// different sizes change places; and after it, the data moves.

#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "relay_datagram.h"
#include "relay_tables.h"

#define NO_TAG_OF_OURS 0x1000

// Where data waits while its packet changes.
struct moved {
	__u8 data[LARGEST_PACKET + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moved);
} moved SEC(".maps");

// Have the first ``size`` bytes of a packet, if it has so many, between data and data_end.
static __always_inline void skb_reach(struct __sk_buff *skb, __u32 size)
{
	if (size > skb->len)
		size = skb->len;
	if (skb->data_end - skb->data < size)
		bpf_skb_pull_data(skb, size);
}

// The VLAN of a packet, or 0.
static __always_inline __u32 skb_tag(struct __sk_buff *skb)
{
	if (!skb->vlan_present)
		return 0;
	return skb->vlan_proto == bpf_htons(ETH_P_8021Q) ? skb->vlan_tci & 0x0fff : NO_TAG_OF_OURS;
}

// Whether a sender here has left the checksum unfinished.  The system remembers that beside the
// packet and tells no program; but it takes a program's word that a checksum is right only where it
// knows nothing of it, and then that word is taken back.
static __always_inline bool skb_is_unfinished(struct __sk_buff *skb)
{
	// It is known to be right, or a card took a sum of the whole packet.
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0 || bpf_csum_update(skb, 0) >= 0)
		return false;
	bpf_csum_level(skb, BPF_CSUM_LEVEL_INC);
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) < 0)
		return true;
	bpf_csum_level(skb, BPF_CSUM_LEVEL_RESET);
	return false;
}

// Whether a datagram may be changed whose checksum has the pseudo header alone: it is unfinished, or
// right all the same, as one in 65,536 is by chance; any other was damaged on its way here.
static __always_inline enum verdict skb_without_sum(struct __sk_buff *skb, struct datagram *d,
                                                    bool is_right)
{
	d->is_unfinished = skb_is_unfinished(skb);
	return d->is_unfinished || is_right ? GO_ON : PASS;
}

// As resize() says.
static __always_inline enum verdict skb_resize(struct __sk_buff *skb, const struct datagram *d,
                                               __u32 headers, __u32 after)
{
	__u32 only = 0, length = d->length, size = length - 1, whole = headers + length + after;
	__be16 before = skb->protocol, protocol = protocol_of(d->destination.family);
	struct moved *kept = bpf_map_lookup_elem(&moved, &only);

	AS_IT_IS(length);
	if (!kept || length > LARGEST_PAYLOAD)
		return PASS;
	// That it is not 0 where it is not, Linux before 6.8 sees only so.
	AS_IT_IS(size);
	size = (size & LARGEST_PACKET) + 1;
	if (length && bpf_skb_load_bytes(skb, d->offset, kept->data, size))
		return PASS;
	// A sum that a card took of the whole packet is no more that of the packet; the system forgets
	// it where a packet grows.
	if (bpf_csum_update(skb, 0) >= 0 && bpf_skb_change_tail(skb, skb->len + 1, 0))
		return PASS;
	if (before != protocol && bpf_skb_change_proto(skb, protocol, 0))
		return PASS;
	if (bpf_skb_change_tail(skb, whole, 0))
		return before == protocol ? PASS : DROP;
	if (length && bpf_skb_store_bytes(skb, headers, kept->data, size, 0))
		return DROP;
	return GO_ON;
}

// Where the other end of a virtual cable is in another network namespace, the packet is received
// there at once, without waiting for its turn.
static __always_inline int skb_send(struct __sk_buff *skb, const struct device *device)
{
	if (device->port == LOOPBACK)
		return TC_ACT_OK;
	if (skb->vlan_present && bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	if (device->vlan)
		return bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), device->vlan)
		               ? TC_ACT_SHOT
		               : bpf_redirect(device->port, 0);
	if (device->flags & FAR_END_ELSEWHERE)
		return bpf_redirect_peer(device->port, 0);
	return bpf_redirect(device->port, 0);
}
