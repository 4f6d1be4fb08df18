// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// A datagram as relay.bpf.c carries it from step to step, and what it is summed up with.
//
// Little-endian: sums of 16-bit words are kept in memory order, as RFC 1071 allows.

#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>

#include "relay_tables.h"

#define LARGEST_PREFIX 12
#define LARGEST_OFFSET 255 // of the data; a power of two less one

// Keeps the compiler from calculating with a packet's end, or from forgetting a bound.
#define AS_IT_IS(value) asm volatile("" : "+r"(value))

// What becomes of a packet; PASS is first, so that nothing else happens by default.
enum verdict { PASS, DROP, GO_ON };

// A datagram on its way through here.  The steps change whom it is from and for, what of the packet
// is its data, and what stands before the data; write() makes the packet of it.
//
//     packet:   | Ethernet | IP | UDP | what was before | data             | what was after |
//                                                       ^ offset    length
//     written:        | Ethernet | IP | UDP | prefix    | data | padding |
struct datagram {
	struct endpoint source;
	struct endpoint destination;
	__u32 offset; // of its data in the packet
	__u32 length; // of its data
	__u32 sum;    // of its data
	__u32 head;   // its first word, in host order; of less than four bytes, 0
	__u32 prefix[LARGEST_PREFIX]; // what is written before the data, in network order
	__u32 words;                  // how many they are
	// What is counted when it has left: a leg to a peer, a leg to a client, or both.
	struct counters *peers_leg;
	struct counters *clients_leg;
	struct counters *binding; // or an answer to a Binding request
	__u32 bytes; // of the client's or the peer's data, which is the same on both legs
	// What limits a leg.
	const __u32 *to_peers, *to_clients;
	__u64 now;
	bool is_unfinished; // its checksum is
};

// What kind of address a host has: LOOPBACK_HOST is 127.0.0.0/8, where the first and the last address
// are everybody's, or ::1.  For a SPECIAL_HOST the system has rules of its own: 0.0.0.0/8, multicast,
// broadcast and what is reserved; ::/64, which has IPv4 addresses too.
enum kind_of_host { ORDINARY_HOST, LOOPBACK_HOST, SPECIAL_HOST };

// A function of its own, which the verifier looks at once: its paths would be as many everywhere
// that it is called, and Linux 6.1 then gives up.
__attribute__((noinline)) __u32 kind_of_host(__u32 family, __u32 first, __u32 second, __u32 third,
                                             __u32 last)
{
	__u32 byte = first & 0xff, within = bpf_ntohl(first) & 0x00ffffff;

	if (family == FAMILY_IPV4) {
		if (byte == 127 && within != 0 && within != 0x00ffffff)
			return LOOPBACK_HOST;
		return !byte || byte == 127 || byte >= 224 ? SPECIAL_HOST : ORDINARY_HOST;
	}
	if (!first && !second)
		return !third && last == bpf_htonl(1) ? LOOPBACK_HOST : SPECIAL_HOST;
	return byte == 0xff ? SPECIAL_HOST : ORDINARY_HOST;
}

static __always_inline __u32 kind_of(const struct endpoint *endpoint)
{
	const __be32 *host = endpoint->host;

	return kind_of_host(endpoint->family, host[0], host[1], host[2], host[3]);
}

static __always_inline bool is_loopback(const struct endpoint *endpoint)
{
	return kind_of(endpoint) == LOOPBACK_HOST;
}

static __always_inline __be16 protocol_of(__u16 family)
{
	return bpf_htons(family == FAMILY_IPV4 ? ETH_P_IP : ETH_P_IPV6);
}

static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u64 sum_of_host(const struct endpoint *endpoint)
{
	return (__u64)endpoint->host[0] + endpoint->host[1] + endpoint->host[2] + endpoint->host[3];
}

// RFC 768, RFC 8200 §8.1: what the checksum covers besides the UDP datagram itself.
static __always_inline __u64 pseudo_header(const struct datagram *d, __u16 udp_length)
{
	return sum_of_host(&d->source) + sum_of_host(&d->destination) + bpf_htons(udp_length) +
	       bpf_htons(IPPROTO_UDP);
}
