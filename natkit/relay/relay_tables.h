// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The numbers and the tables of the relay plane in the kernel (relay.bpf.c).

#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

// ---------------------------------------------------------------------------------------- numbers

#define FAMILY_IPV4 4
#define FAMILY_IPV6 6

// <linux/socket.h>, which a program without libc cannot include.
#define AF_INET 2
#define AF_INET6 10

// natkit/stun/registry.py has these; tests/natkit/relay/test_kernel_layout.py compares.
#define MAGIC_COOKIE 0x2112A442u
#define SEND_INDICATION 0x0016u
#define DATA_INDICATION 0x0017u
#define BINDING_REQUEST 0x0001u
#define BINDING_SUCCESS 0x0101u
#define XOR_PEER_ADDRESS 0x0012u
#define XOR_MAPPED_ADDRESS 0x0020u
#define DATA 0x0013u
#define STUN_HEADER 20
#define CHANNEL_HEADER 4

// RFC 8656 §12: a first byte of 0x40 to 0x7F, as RFC 5766 had it, is a channel's.
#define IS_CHANNEL_DATA(head) (((head) >> 30) == 1)

// The largest UDP payload that one buffer of XDP holds.
#define LARGEST_PAYLOAD 3520
#define LARGEST_PACKET 4095

// An IPv4 or IPv6 header, and the headers before and after it.
#define ETHERNET 14
#define VLAN_TAG 4
#define UDP 8

// What a mark of a half, a client, a permission or a channel says.
#define HAND_UP (1u << 0)      // user space treats all that concerns it
#define ONLY_RELAYED (1u << 1) // only from and to addresses that are relayed here

// What a device does.
#define RUNS_ON_SKB (1u << 0)       // the program has the system's own packets, after the driver
#define FAR_END_ELSEWHERE (1u << 1) // it is a cable into another network namespace

// What a local address is.
#define IS_LISTENER 1
#define IS_RELAYED 2

#define ANSWERS_BINDING (1u << 0)
#define COUNTS_SOURCES (1u << 1)

// natkit/server/limits.py: a source is a network, one of so many places; what is sent to it must
// stay below so many times what came from it, and a burst.
#define SOURCE_BITS 16
#define AMPLIFICATION 2

// natkit/relay/source_memory.py: which clients are served.
#define ASK_ABOVE 0
#define ALL_CLIENTS 1
#define OTHERS_TOO 2 // besides those in networks that are

// The loopback interface, in every network namespace.
#define LOOPBACK 1

// Nanoseconds; the slowest kernels have a hundred ticks a second.
#define LONGEST_TICK 10000000

#define PORT_RANGES 4
#define LOW_DEVICES 1024
#define WORKERS 256
#define BUCKETS 2

// ----------------------------------------------------------------------------------------- tables

// Sizes are set at load; natkit/relay/kernel_layout.py has the same layouts.

// An IP address and a port, in network order; an IPv4 address is the first word, the others are 0.
struct endpoint {
	__be32 host[4];
	__be16 port;
	__u16 family;
};

// What an allocation has in each address family: a relayed address, and the client behind it.  Of
// its two lines of the processor's cache, what goes to a peer needs the first alone.
struct half {
	__u64 until; // nanoseconds, as clock() has them
	__u32 flags;
	__u32 other;    // the other half of a dual allocation, or 0
	__u32 counters; // where it counts
	__u32 own;      // where its worker counts what belongs to no allocation
	__u32 to_peers[BUCKETS]; // the buckets that its data passes, none after a 0
	__u32 to_clients[BUCKETS];
	struct endpoint relayed;
	__u32 unused;
	struct endpoint client;
	struct endpoint listener; // where the client came to
	__u32 unused_too[6];
};

_Static_assert(__builtin_offsetof(struct half, client) == 64, "a line of the cache");

// natkit/relay/rates.py has the same words.
struct bucket {
	__u64 full_at; // nanoseconds: when all will be there that it may save up
	__u64 rate;    // bytes a second
	__u64 burst;   // nanoseconds in which an empty one fills
	__u64 unused;
};

struct counters {
	__u64 packets_to_peers;
	__u64 bytes_to_peers;
	__u64 packets_to_clients;
	__u64 bytes_to_clients;
	__u64 dropped_malformed;
	__u64 dropped_no_allocation;
	__u64 dropped_no_channel;
	__u64 dropped_no_permission;
	__u64 dropped_over_rate;
	__u64 bindings_answered;
	__u64 packets_over_limit; // Binding requests of sources that send too many
	__u64 answers_over_limit; // and of those that would have more answered than they pay for
	__u64 denied_clients;     // and of those in networks that are not served
	__u64 unused[3];
};

struct local {
	__u32 kind;
	__u32 flags;
	__u32 half; // of a relayed address
};

// From whom to whom a packet is as it comes in: from a client to a listener, or from a peer that has
// a channel to a relayed address.  All that such a packet is looked up by, as a rule.
struct flow_ipv4 {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
};

struct flow_ipv6 {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 destination_port;
};

struct flow {
	__u64 until;     // of a peer's channel
	__u64 permitted; // of a peer: until then it needs no look at its permission; or 0
	__u32 half;      // of a client, the first of its allocation
	__u16 number;    // of a peer's channel; of a client 0
	__u16 flags;
};

struct permission_key {
	__u32 half;
	__be32 host[4];
};

struct permission {
	__u64 until;
	__u32 flags;
	__u32 ranges;
	struct {
		__u16 first;
		__u16 last;
	} ports[PORT_RANGES]; // where ONLY_RELAYED is set, those that need not be relayed here
};

struct channel_key {
	__u32 half;
	__u32 number;
};

struct channel {
	__u64 until;
	struct endpoint peer;
	__u32 flags;
};

// An interface that packets come in by, with the tag that they have on its wire; or one that they
// leave by, which may be a VLAN's, with no tag.
struct device_key {
	__u32 interface;
	__u32 vlan;
};

struct device {
	__u8 mac[6];
	__u8 flags;
	__u8 hop_limit;
	__u32 port; // the interface that has the wire; 0 where there is nothing
	__u16 vlan; // its tag there, or 0 for none
	__u16 unused;
};

struct settings {
	__u64 standing_clock; // for tests: what time it is, when not 0
	__u8 traffic_class;   // of all that is sent: a code point, and no ECN
	__u8 ttl;
	__u16 unused[3];
	// A byte for each worker: whether it has allocations that live in user space alone.
	__u64 unmirrored[WORKERS / 8];
};

// natkit/relay/source_memory.py has the same words.
struct source {
	__u64 count;  // the second, and packets in it
	__u64 credit; // the window, and bytes
};

struct sources {
	__u64 second;
	__u64 in_second;
	__u64 untold;
	__u64 each;
	__u64 packets;
	__u64 renewed_at;
	__u64 window;
	__u64 burst;
	__u64 factor;
	__u64 clients;
};

// A network of clients, whose value says whether they are served; the narrowest one counts.
struct network_key {
	__u32 prefix; // bits of what follows
	__u32 family;
	__be32 host[4];
};

#define TABLE(name, kind, key_type, value_type, flags)                                             \
	struct {                                                                                       \
		__uint(type, kind);                                                                        \
		__uint(max_entries, 1);                                                                    \
		__uint(map_flags, flags);                                                                  \
		__type(key, key_type);                                                                     \
		__type(value, value_type);                                                                 \
	} name SEC(".maps")

TABLE(settings, BPF_MAP_TYPE_ARRAY, __u32, struct settings, BPF_F_MMAPABLE);
TABLE(halves, BPF_MAP_TYPE_ARRAY, __u32, struct half, BPF_F_MMAPABLE);
TABLE(counters, BPF_MAP_TYPE_ARRAY, __u32, struct counters, BPF_F_MMAPABLE);
TABLE(buckets, BPF_MAP_TYPE_ARRAY, __u32, struct bucket, BPF_F_MMAPABLE);
// Those without a tag that have low numbers, by these; and all others.
TABLE(low_devices, BPF_MAP_TYPE_ARRAY, __u32, struct device, 0);
TABLE(devices, BPF_MAP_TYPE_HASH, struct device_key, struct device, BPF_F_NO_PREALLOC);
TABLE(locals, BPF_MAP_TYPE_HASH, struct endpoint, struct local, BPF_F_NO_PREALLOC);
TABLE(flows_ipv4, BPF_MAP_TYPE_HASH, struct flow_ipv4, struct flow, BPF_F_NO_PREALLOC);
TABLE(flows_ipv6, BPF_MAP_TYPE_HASH, struct flow_ipv6, struct flow, BPF_F_NO_PREALLOC);
TABLE(permissions, BPF_MAP_TYPE_HASH, struct permission_key, struct permission, BPF_F_NO_PREALLOC);
TABLE(channels, BPF_MAP_TYPE_HASH, struct channel_key, struct channel, BPF_F_NO_PREALLOC);
TABLE(networks, BPF_MAP_TYPE_LPM_TRIE, struct network_key, __u32, BPF_F_NO_PREALLOC);
// Local hosts, and those that stand for them outside of a one-to-one NAT.
TABLE(sources, BPF_MAP_TYPE_ARRAY, __u32, struct source, BPF_F_MMAPABLE);
TABLE(sources_state, BPF_MAP_TYPE_ARRAY, __u32, struct sources, BPF_F_MMAPABLE);
TABLE(external, BPF_MAP_TYPE_HASH, struct endpoint, __u32, BPF_F_NO_PREALLOC);
