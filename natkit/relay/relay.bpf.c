// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The relay plane in the kernel: it relays a datagram where it arrives.
//
// There are two programs, for two hooks: one for XDP, which sees a packet before the system does,
// and one for tc, which has it next, and also where there is no driver.  They do the same.
//
// They do for the packets that come in great numbers what natkit/relay/userspace.py does, and
// nothing else.  Whatever they cannot do, or need not do fast, they let pass: the system delivers
// that to the sockets of the plane in user space, which treats it as if no program were there.  So
// a packet that passes is never wrong, and one is changed, dropped or counted here only when
// everything about it is known.  The tables are those of user space (natkit/relay/tables.py),
// written by natkit/relay/kernel.py alone; the programs only count.
//
// From top to bottom: reading, what allocations have, the ways to peers and to clients, writing,
// and the programs.  The numbers and the tables are in relay_tables.h, the datagram as it is
// carried from step to step in relay_datagram.h, and in relay_frames.h the packet as the hook has
// it.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "relay_datagram.h"
#include "relay_frames.h"
#include "relay_tables.h"

// bpf_fib_lookup() is for programs under the GPL.
char LICENSE[] SEC("license") = "Dual MIT/GPL";

// ---------------------------------------------------------------------------------------- reading

static __always_inline __u64 clock(const struct settings *settings)
{
	return settings->standing_clock ?: bpf_ktime_get_ns();
}

// The same as of the last tick, for a seventh of the time.
static __always_inline __u64 coarse_clock(const struct settings *settings)
{
	return settings->standing_clock ?: bpf_ktime_get_coarse_ns();
}

// Whether what lives until then is dead, where coarse_clock() says ``now``: clock() is asked only
// about what dies before the next tick.
static __always_inline bool is_over(__u64 until, const struct settings *settings, __u64 now)
{
	if (until > now + LONGEST_TICK)
		return false;
	return until <= now || until <= clock(settings);
}

static __always_inline struct device *device_of(__u32 interface, __u32 vlan)
{
	if (!vlan && interface < LOW_DEVICES) {
		struct device *device = bpf_map_lookup_elem(&low_devices, &interface);

		return device && device->port ? device : 0;
	}

	struct device_key key = { .interface = interface, .vlan = vlan };

	return bpf_map_lookup_elem(&devices, &key);
}

//       0                   1                   2                   3
//       0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//      +---------------------------------------------------------------+
//      |    destination MAC (6)    |    source MAC (6)    |  type (2)  |
//      +---------------------------------------------------------------+
//      | only with type 0x8100, where the system has not read it yet:  |
//      |                                   |  VLAN (2)  |  type (2)    |
//      +---------------------------------------------------------------+
//
// Where the IP header begins, and of which protocol it is; 0 for what is not for this machine.
// ``device`` is who hears on this interface under that tag.
static __always_inline __u32 read_ethernet(struct frame frame, struct device **device,
                                           __u16 *protocol)
{
	void *data = data_of(frame), *end = end_of(frame);
	struct ethhdr *ethernet = data;
	__u32 size = ETHERNET, vlan = 0;

	if (data + ETHERNET + VLAN_TAG > end)
		return 0;
	*protocol = ethernet->h_proto;
	if (frame.hook == AT_TC) {
		vlan = skb_tag(frame.ctx);
	} else if (*protocol == bpf_htons(ETH_P_8021Q)) {
		__be16 *tag = data + ETHERNET;

		vlan = bpf_ntohs(tag[0]) & 0x0fff;
		*protocol = tag[1];
		size = ETHERNET + VLAN_TAG;
	}
	*device = device_of(interface_of(frame), vlan);
	if (!*device)
		return 0;

	__u16 *to = (__u16 *)ethernet->h_dest, *mac = (__u16 *)(*device)->mac;

	return to[0] == mac[0] && to[1] == mac[1] && to[2] == mac[2] ? size : 0;
}

// An IPv4 header without options, of a packet that is whole and has a hop to go (RFC 791 §3.1).
// Gives the length of what follows it, or -1.
static __always_inline int read_ipv4(struct iphdr *ip, struct datagram *d)
{
	__u32 *word = (__u32 *)ip;

	if (ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_UDP || ip->ttl <= 1)
		return -1;
	if (ip->frag_off & bpf_htons(0x3fff))
		return -1;
	if (fold((__u64)word[0] + word[1] + word[2] + word[3] + word[4]) != 0xffff)
		return -1;
	d->source.host[0] = ip->saddr;
	d->destination.host[0] = ip->daddr;
	d->source.family = d->destination.family = FAMILY_IPV4;
	return bpf_ntohs(ip->tot_len) - (int)sizeof(*ip);
}

// An IPv6 header that UDP follows (RFC 8200 §3).
static __always_inline int read_ipv6(struct ipv6hdr *ip, struct datagram *d)
{
	if (ip->version != 6 || ip->nexthdr != IPPROTO_UDP || ip->hop_limit <= 1)
		return -1;
	__builtin_memcpy(d->source.host, &ip->saddr, 16);
	__builtin_memcpy(d->destination.host, &ip->daddr, 16);
	d->source.family = d->destination.family = FAMILY_IPV6;
	return bpf_ntohs(ip->payload_len);
}

// Whether the system would not drop what comes from there, and an answer could go there.
static __always_inline bool can_be_source(const struct datagram *d, const struct device *from)
{
	if (!d->source.port)
		return false;

	__u32 kind = kind_of(&d->source);

	return kind == ORDINARY_HOST || (kind == LOOPBACK_HOST && from->port == LOOPBACK);
}

// Up to the first word of data.
#define MOST_TO_READ (ETHERNET + VLAN_TAG + sizeof(struct ipv6hdr) + UDP + 4)

// Read a UDP datagram up to its data; false: let it pass.
static __always_inline bool read(struct frame frame, struct device **device, struct datagram *d)
{
	__u16 protocol;

	if (is_several(frame))
		return false;
	reach(frame, MOST_TO_READ);

	__u32 ip = read_ethernet(frame, device, &protocol);
	void *data = data_of(frame), *end = end_of(frame);
	int length;

	if (!ip)
		return false;
	if (protocol == bpf_htons(ETH_P_IP)) {
		if (data + ip + sizeof(struct iphdr) + UDP > end)
			return false;
		length = read_ipv4(data + ip, d);
		d->offset = ip + sizeof(struct iphdr) + UDP;
	} else if (protocol == bpf_htons(ETH_P_IPV6)) {
		if (data + ip + sizeof(struct ipv6hdr) + UDP > end)
			return false;
		length = read_ipv6(data + ip, d);
		d->offset = ip + sizeof(struct ipv6hdr) + UDP;
	} else {
		return false;
	}
	if (length < UDP || length > UDP + LARGEST_PAYLOAD)
		return false;
	if (data + d->offset > end)
		return false;

	struct udphdr *udp = data + d->offset - UDP;

	if (bpf_ntohs(udp->len) != length)
		return false;
	d->source.port = udp->source;
	d->destination.port = udp->dest;
	if (!can_be_source(d, *device))
		return false;
	d->length = length - UDP;
	if (d->length >= 4 && data + d->offset + 4 <= end)
		d->head = bpf_ntohl(*(__u32 *)(data + d->offset));
	return true;
}

// Where the data begins, for reading there.  The mask tells the verifier how far off that is: Linux
// before 6.8 forgets what it knew of a number when the four bytes next to it are written.
static __always_inline __u64 place_of(const struct datagram *d)
{
	__u64 place = d->offset;

	AS_IT_IS(place);
	return place & LARGEST_OFFSET;
}

// Sum up the data, and compare with the checksum; PASS: it is for the system to drop.
static __always_inline enum verdict check(struct frame frame, struct datagram *d,
                                          const struct device *device)
{
	reach(frame, d->offset + d->length);

	void *data = data_of(frame), *end = end_of(frame);
	__u64 place = place_of(d);

	if (place < UDP)
		return PASS;
	place -= UDP;
	// Lest the pointer be calculated as one behind it, from which Linux before 6.8 learns nothing.
	AS_IT_IS(place);

	struct udphdr *udp = data + place;

	if ((void *)(udp + 1) > end)
		return PASS;

	__u16 checksum = udp->check, length = d->length + UDP;

	d->sum = sum_of(frame, d->offset, d->length);
	if (d->sum == SUM_FAILED)
		return PASS;
	if (!checksum)
		return d->source.family == FAMILY_IPV4 ? GO_ON : PASS;

	__u64 pseudo = pseudo_header(d, length);
	bool is_right = fold(pseudo + d->source.port + d->destination.port + bpf_htons(length) +
	                     checksum + d->sum) == 0xffff;

	if (fold(pseudo) == checksum)
		return without_sum(frame, d, device, is_right);
	return is_right ? GO_ON : PASS;
}

// The first ``size`` bytes of the data, or 0 where it has fewer.
static __always_inline __u32 *first_words(struct frame frame, const struct datagram *d, __u32 size)
{
	void *data = data_of(frame) + place_of(d), *end = end_of(frame);

	if (d->length < size || data + size > end)
		return 0;
	return data;
}

static __always_inline void subtract(struct datagram *d, __u64 sum)
{
	d->sum = fold((__u64)d->sum + (~fold(sum) & 0xffff));
}

// Let the data begin ``size`` bytes later; ``sum`` is that of those before.
static __always_inline void strip(struct datagram *d, __u32 size, __u64 sum)
{
	d->offset += size;
	d->length -= size;
	subtract(d, sum);
}

// Let the data end after ``size`` bytes; false where that cannot be.
static __always_inline bool cut(struct frame frame, struct datagram *d, __u32 size)
{
	if (size == d->length)
		return true;

	__u32 sum = sum_of(frame, d->offset + size, d->length - size);

	if (sum == SUM_FAILED)
		return false;
	// What follows an odd number of bytes has changed places in its words.
	if (size & 1)
		sum = (sum & 0xff) << 8 | sum >> 8;
	subtract(d, sum);
	d->length = size;
	return true;
}

// ------------------------------------------------------------------------------- allocations' ends

#define COUNT(counter, amount) __sync_fetch_and_add(&(counter), amount)

static __always_inline struct half *half_of(__u32 number)
{
	return number ? bpf_map_lookup_elem(&halves, &number) : 0;
}

static __always_inline struct counters *counters_of(__u32 number)
{
	return bpf_map_lookup_elem(&counters, &number);
}

#define TRIES 32

// Have ``time`` of a bucket, if it has so much; true then.
//
// Another processor that draws from it is never waited for: that one has had its packet through by
// the time that this one tries again.
static __always_inline bool draw(struct bucket *bucket, __u64 time, __u64 now)
{
	__u64 latest = now + bucket->burst;

#pragma clang loop unroll(disable)
	for (int i = 0; i < TRIES; i++) {
		__u64 found = bucket->full_at, from = found;

		if (from < now)
			from = now;
		if (from > latest)
			from = latest;
		if (from + time > latest)
			return false;
		if (__sync_val_compare_and_swap(&bucket->full_at, found, from + time) == found)
			return true;
	}
	return false;
}

// Nanoseconds in which ``size`` bytes come back to a bucket.
static __always_inline __u64 time_for(__u32 size, const struct bucket *bucket)
{
	return (__u64)size * 1000000000 / bucket->rate;
}

// Whether ``size`` bytes pass two buckets, or one where ``second`` is 0; only then is anything
// taken.
//
// A function of its own, which the verifier looks at once.
__attribute__((noinline)) __u32 pass_through(__u32 first, __u32 second, __u32 size, __u64 now)
{
	struct bucket *one = bpf_map_lookup_elem(&buckets, &first);
	struct bucket *other = bpf_map_lookup_elem(&buckets, &second);

	if (!one || !other)
		return 0;

	__u64 time = time_for(size, one);

	if (!draw(one, time, now))
		return 0;
	if (!second || draw(other, time_for(size, other), now))
		return 1;
	__sync_fetch_and_add(&one->full_at, -time);
	return 0;
}

static __always_inline bool may_pass(const __u32 *limits, const struct datagram *d)
{
	return !limits || pass_through(limits[0], limits[1], d->bytes, d->now);
}

// Count what leaves, all that it went through here; false where a leg was beyond its bandwidth.
static __always_inline bool leave(struct datagram *d)
{
	if (d->peers_leg) {
		if (!may_pass(d->to_peers, d)) {
			COUNT(d->peers_leg->dropped_over_rate, 1);
			return false;
		}
		COUNT(d->peers_leg->packets_to_peers, 1);
		COUNT(d->peers_leg->bytes_to_peers, d->bytes);
	}
	if (d->clients_leg) {
		if (!may_pass(d->to_clients, d)) {
			COUNT(d->clients_leg->dropped_over_rate, 1);
			return false;
		}
		COUNT(d->clients_leg->packets_to_clients, 1);
		COUNT(d->clients_leg->bytes_to_clients, d->bytes);
	}
	if (d->binding)
		COUNT(d->binding->bindings_answered, 1);
	return true;
}

// Count a packet that is dropped, if it comes so far on the leg that it has behind it.
#define DROPPED(d, counted, why)                                                                   \
	({                                                                                             \
		struct counters *drop_at = counted;                                                        \
                                                                                                   \
		if (leave(d) && drop_at)                                                                   \
			COUNT(drop_at->why, 1);                                                                \
		DROP;                                                                                      \
	})

// Whether every allocation is in the tables, so that who is not there has none.
static __always_inline bool knows_all(const struct settings *settings)
{
	__u64 lacking = 0;

	for (int i = 0; i < WORKERS / 8; i++)
		lacking |= settings->unmirrored[i];
	return !lacking;
}

// Whether an address is one that an allocation relays from now; GO_ON if so.
static __always_inline enum verdict relays(const struct endpoint *endpoint,
                                           const struct settings *settings, __u64 now)
{
	struct local *local = bpf_map_lookup_elem(&locals, endpoint);

	if (!local || local->kind != IS_RELAYED)
		return knows_all(settings) ? DROP : PASS;

	struct half *half = half_of(local->half);

	if (!half)
		return PASS;
	return is_over(half->until, settings, now) ? DROP : GO_ON;
}

// Whether a permission is for this peer (RFC 8656 §9): GO_ON, DROP, or PASS where that is not known,
// or where the peer is relayed from here and yet, ``by_wire``, seems to be elsewhere.
static __always_inline enum verdict admits(const struct permission *permission,
                                           const struct endpoint *peer, bool by_wire,
                                           const struct settings *settings, __u64 now)
{
	if (!permission || is_over(permission->until, settings, now))
		return DROP;
	if (permission->flags & HAND_UP)
		return PASS;
	if (!(permission->flags & ONLY_RELAYED))
		return GO_ON;

	__u16 port = bpf_ntohs(peer->port);

	for (int i = 0; i < PORT_RANGES; i++)
		if (i < permission->ranges && permission->ports[i].first <= port &&
		    port <= permission->ports[i].last)
			return GO_ON;

	enum verdict verdict = relays(peer, settings, now);

	return verdict == GO_ON && by_wire ? PASS : verdict;
}

static __always_inline struct permission *permission_for(__u32 half, const struct endpoint *peer)
{
	struct permission_key key = {
		.half = half,
		.host = { peer->host[0], peer->host[1], peer->host[2], peer->host[3] },
	};

	return bpf_map_lookup_elem(&permissions, &key);
}

// --------------------------------------------------------------------------------- towards a peer

// The half is the client's; its data goes to ``peer`` from where that one knows the client.
static __always_inline enum verdict leave_for(struct datagram *d, const struct half *half,
                                              const struct endpoint *peer)
{
	if (!peer->port || kind_of(peer) == SPECIAL_HOST)
		return PASS;
	d->source = half->relayed;
	d->destination = *peer;
	d->bytes = d->length;
	d->peers_leg = counters_of(half->counters);
	if (half->to_peers[0])
		d->to_peers = half->to_peers;
	return GO_ON;
}

//      +---------------------------------------------------------------+
//      |    channel number (16)      |     length of the data (16)     |    RFC 8656 §12.4
//      +---------------------------------------------------------------+
//      |    data ...                                                   |
//      +---------------------------------------------------------------+
static __always_inline enum verdict channel_data(struct frame frame, struct datagram *d,
                                                 __u32 number, struct half *half,
                                                 const struct settings *settings, __u64 now)
{
	__u32 size = d->head & 0xffff;
	struct half *other = half_of(half->other);
	struct counters *counters = counters_of(half->counters);

	bool is_dead = is_over(half->until, settings, now);
	bool lives_on = other && !is_over(other->until, settings, now);

	if (is_dead && !lives_on)
		return DROPPED(d, counters_of(half->own), dropped_no_allocation);
	if (size + CHANNEL_HEADER > d->length)
		return DROPPED(d, counters, dropped_malformed);

	struct channel_key key = { .half = number, .number = d->head >> 16 };
	struct channel *channel = 0;

	if (!is_dead)
		channel = bpf_map_lookup_elem(&channels, &key);
	if (!channel && lives_on) {
		key.half = half->other;
		channel = bpf_map_lookup_elem(&channels, &key);
		half = other;
	}
	if (!channel || is_over(channel->until, settings, now))
		return DROPPED(d, counters, dropped_no_channel);
	if ((channel->flags | half->flags) & HAND_UP)
		return PASS;
	if (channel->flags & ONLY_RELAYED) {
		enum verdict verdict = relays(&channel->peer, settings, now);

		if (verdict == DROP)
			return DROPPED(d, counters, dropped_no_permission);
		if (verdict == PASS)
			return PASS;
	}

	__u32 *header = first_words(frame, d, CHANNEL_HEADER);

	// More than padding may be several datagrams in one, which the system tells apart.
	if (!header || d->length - CHANNEL_HEADER - size > 3)
		return PASS;
	strip(d, CHANNEL_HEADER, *header);
	if (!cut(frame, d, size))
		return PASS;
	return leave_for(d, half, &channel->peer);
}

//      +---------------------------------------------------------------+
//      |  0x0016  |  length  |  magic cookie  |  transaction id (12)   |    RFC 8656 §11.1
//      +---------------------------------------------------------------+
//      |  0x0012  |   8, 20  |  family, port  |  host (4 or 16)        |    XOR-PEER-ADDRESS
//      +---------------------------------------------------------------+
//      |  0x0013  |   size   |  data ...                               |    DATA
//      +---------------------------------------------------------------+
//
// Read the peer of a Send indication that is laid out so, and leave only the data.
static __always_inline bool read_send(struct frame frame, struct datagram *d,
                                      struct endpoint *peer)
{
	__u32 *word = first_words(frame, d, 4 * 9);
	__u32 header = 4 * 9;
	__u64 sum = 0;

	if (!word || (d->head & 0xffff) != d->length - STUN_HEADER ||
	    word[1] != bpf_htonl(MAGIC_COOKIE))
		return false;
	for (int i = 0; i < 9; i++)
		sum += word[i];
	peer->port = (bpf_ntohl(word[6]) & 0xffff) ^ MAGIC_COOKIE >> 16;
	peer->port = bpf_htons(peer->port);
	peer->host[0] = word[7] ^ word[1];

	__u32 attribute = bpf_ntohl(word[5]), family = bpf_ntohl(word[6]) >> 16 & 0xff;
	__u32 data = bpf_ntohl(word[8]);

	if (attribute == (XOR_PEER_ADDRESS << 16 | 8) && family == 1) {
		peer->family = FAMILY_IPV4;
	} else if (attribute == (XOR_PEER_ADDRESS << 16 | 20) && family == 2) {
		header = 4 * 12;
		word = first_words(frame, d, 4 * 12);
		if (!word)
			return false;
		peer->family = FAMILY_IPV6;
		for (int i = 1; i < 4; i++)
			peer->host[i] = word[7 + i] ^ word[1 + i];
		sum += (__u64)word[9] + word[10] + word[11];
		data = bpf_ntohl(word[11]);
	} else {
		return false;
	}

	__u32 size = data & 0xffff;

	if (data >> 16 != DATA || header + size + (-size & 3) != d->length)
		return false;
	strip(d, header, sum);
	return cut(frame, d, size);
}

static __always_inline enum verdict send_indication(struct frame frame, struct datagram *d,
                                                    __u32 number, struct half *half,
                                                    const struct settings *settings, __u64 now)
{
	struct endpoint peer = {};

	if (!read_send(frame, d, &peer))
		return PASS;
	if (half->relayed.family != peer.family) {
		number = half->other;
		half = half_of(number);
		if (!half || half->relayed.family != peer.family)
			return PASS;
	}
	if (is_over(half->until, settings, now) || (half->flags & HAND_UP))
		return PASS;
	if (admits(permission_for(number, &peer), &peer, false, settings, now) != GO_ON)
		return PASS;
	return leave_for(d, half, &peer);
}

// What a client sends that has an allocation.
static __always_inline enum verdict from_client(struct frame frame, struct datagram *d,
                                                const struct flow *flow,
                                                const struct settings *settings, __u64 now)
{
	__u32 number = flow->half;
	struct half *half = half_of(number);

	if (!half || ((flow->flags | half->flags) & HAND_UP))
		return PASS;
	if (IS_CHANNEL_DATA(d->head))
		return channel_data(frame, d, number, half, settings, now);
	if (d->head >> 16 == SEND_INDICATION)
		return send_indication(frame, d, number, half, settings, now);
	return PASS;
}

// The place of a source: an IPv4 /24 or an IPv6 /56.
static __always_inline struct source *source_of(const struct endpoint *client, __u64 factor)
{
	__u64 prefix = bpf_ntohl(client->host[0]);

	if (client->family == FAMILY_IPV4)
		prefix >>= 8;
	else
		prefix = prefix << 24 | bpf_ntohl(client->host[1]) >> 8;

	__u32 place = prefix * factor >> (64 - SOURCE_BITS);

	return bpf_map_lookup_elem(&sources, &place);
}

// Whether the network of a client is one that is served.
static __always_inline bool is_served(const struct endpoint *client, __u64 clients)
{
	struct network_key key = {
		.prefix = 8 * (sizeof(key.family) + sizeof(key.host)),
		.family = client->family,
		.host = { client->host[0], client->host[1], client->host[2], client->host[3] },
	};
	__u32 *named = bpf_map_lookup_elem(&networks, &key);

	return named ? *named : clients == OTHERS_TOO;
}

// Whether a request of ``client`` may be answered by ``cost`` bytes more than it pays for: what
// natkit/server/limits.py says, of the same memory.  A new window of credits is user space's.
static __always_inline enum verdict may_answer(const struct endpoint *client, int cost, __u64 now)
{
	__u32 only = 0, second = now / 1000000000;
	struct sources *all = bpf_map_lookup_elem(&sources_state, &only);

	if (!all || all->clients == ASK_ABOVE)
		return PASS;

	bool is_denied = all->clients != ALL_CLIENTS && !is_served(client, all->clients);

	if (!is_denied && cost > 0 && now >= all->renewed_at)
		return PASS;

	struct source *source = source_of(client, all->factor);
	struct counters *counted = counters_of(0);

	if (!source || !counted)
		return PASS;
	if (all->second != second) {
		all->untold = all->packets / 2;
		all->each = all->packets - all->packets / 2;
		all->second = second;
		all->in_second = 0;
	}

	__u64 before = __sync_fetch_and_add(&all->in_second, 1);

	if (is_denied) {
		COUNT(counted->denied_clients, 1);
		return DROP;
	}
	if (before >= all->untold) {
		__u32 count = source->count >> 32 == second ? source->count : 0;

		if (count >= all->each) {
			COUNT(counted->packets_over_limit, 1);
			return DROP;
		}
		source->count = (__u64)second << 32 | (count + 1);
	}
	if (cost <= 0)
		return GO_ON;

	__u64 credit = source->credit >> 32 == all->window ? (__u32)source->credit : all->burst;

	if (credit < cost) {
		source->credit = all->window << 32 | (credit + AMPLIFICATION * STUN_HEADER);
		COUNT(counted->answers_over_limit, 1);
		return DROP;
	}
	source->credit = all->window << 32 | (credit - cost);
	return GO_ON;
}

//      +---------------------------------------------------------------+
//      |  0x0101  |  length  |  magic cookie  |  transaction id (12)   |    RFC 8489 §6.3.1.1
//      +---------------------------------------------------------------+
//      |  0x0020  |   8, 20  |  family, port  |  host (4 or 16)        |    XOR-MAPPED-ADDRESS
//      +---------------------------------------------------------------+
//
// The answer to a plain Binding request, a header alone.
static __always_inline bool is_plain_binding(const struct datagram *d)
{
	return d->length == STUN_HEADER && d->head == BINDING_REQUEST << 16;
}

static __always_inline enum verdict binding(struct frame frame, struct datagram *d,
                                            const struct local *listener,
                                            const struct settings *settings)
{
	__u32 *word = first_words(frame, d, STUN_HEADER);
	bool is_ipv4 = d->source.family == FAMILY_IPV4;
	struct endpoint client = d->source;

	if (!word || word[1] != bpf_htonl(MAGIC_COOKIE) || !(listener->flags & ANSWERS_BINDING))
		return PASS;
	for (int i = 1; i < 5; i++)
		d->prefix[i] = word[i];
	d->words = is_ipv4 ? 8 : 11;
	if (listener->flags & COUNTS_SOURCES) {
		int cost = (int)d->words * 4 - AMPLIFICATION * STUN_HEADER;
		enum verdict verdict = may_answer(&client, cost, clock(settings));

		if (verdict != GO_ON)
			return verdict;
	}
	d->prefix[0] = bpf_htonl(BINDING_SUCCESS << 16 | (is_ipv4 ? 12 : 24));
	d->prefix[5] = bpf_htonl(XOR_MAPPED_ADDRESS << 16 | (is_ipv4 ? 8 : 20));
	d->prefix[6] = bpf_htonl((is_ipv4 ? 1 : 2) << 16 |
	                         (bpf_ntohs(client.port) ^ MAGIC_COOKIE >> 16));
	for (int i = 0; i < 4; i++)
		d->prefix[7 + i] = client.host[i] ^ d->prefix[1 + i];
	d->length = d->sum = 0;
	d->source = d->destination;
	d->destination = client;
	d->binding = counters_of(0);
	return GO_ON;
}

// What comes to a listener, from nobody who has an allocation or in no need of one.
static __always_inline enum verdict from_stranger(struct frame frame, struct datagram *d,
                                                  const struct local *listener,
                                                  const struct settings *settings)
{
	if (is_plain_binding(d))
		return binding(frame, d, listener, settings);
	if (IS_CHANNEL_DATA(d->head) && knows_all(settings))
		return DROPPED(d, counters_of(0), dropped_no_allocation);
	return PASS;
}

// ------------------------------------------------------------------------------- towards a client

//      +---------------------------------------------------------------+
//      |  0x0017  |  length  |  magic cookie  |  transaction id (12)   |    RFC 8656 §11.3
//      +---------------------------------------------------------------+
//      |  0x0012  |   8, 20  |  family, port  |  host (4 or 16)        |    XOR-PEER-ADDRESS
//      +---------------------------------------------------------------+
//      |  0x0013  |   size   |  data ... and zeros                     |    DATA
//      +---------------------------------------------------------------+
//
// Frame what came from d->source; false where the client knows that peer by another address.
static __always_inline bool data_indication(struct datagram *d)
{
	struct endpoint host = d->source;
	bool is_ipv4 = host.family == FAMILY_IPV4;

	host.port = 0;
	if (bpf_map_lookup_elem(&external, &host))
		return false;
	d->words = is_ipv4 ? 9 : 12;
	d->prefix[0] = bpf_htonl(DATA_INDICATION << 16 |
	                         ((d->words * 4 - STUN_HEADER + d->length + 3) & 0xfffc));
	d->prefix[1] = bpf_htonl(MAGIC_COOKIE);
	for (int i = 2; i < 5; i++)
		d->prefix[i] = bpf_get_prandom_u32();
	d->prefix[5] = bpf_htonl(XOR_PEER_ADDRESS << 16 | (is_ipv4 ? 8 : 20));
	d->prefix[6] = bpf_htonl((is_ipv4 ? 1 : 2) << 16 |
	                         (bpf_ntohs(d->source.port) ^ MAGIC_COOKIE >> 16));
	d->prefix[7] = d->source.host[0] ^ d->prefix[1];
	if (is_ipv4) {
		d->prefix[8] = bpf_htonl(DATA << 16 | d->length);
	} else {
		for (int i = 1; i < 4; i++)
			d->prefix[7 + i] = d->source.host[i] ^ d->prefix[1 + i];
		d->prefix[11] = bpf_htonl(DATA << 16 | d->length);
	}
	return true;
}

// What a peer sends to a relayed address, that of half ``number`` (RFC 8656 §11.3, §12.7); with
// ``flow`` where it has had a channel; ``from`` is 0 for what comes from a client here.
static __always_inline enum verdict to_relayed(struct datagram *d, const struct device *from,
                                               __u32 number,
                                               const struct flow *flow,
                                               const struct settings *settings, __u64 now)
{
	struct half *half = half_of(number);

	if (!half || (half->flags & HAND_UP))
		return PASS;
	if (is_over(half->until, settings, now))
		return DROPPED(d, counters_of(half->own), dropped_no_allocation);

	struct counters *counters = counters_of(half->counters);

	if (!flow || is_over(flow->permitted, settings, now)) {
		bool by_wire = from && from->port != LOOPBACK;
		enum verdict verdict = admits(permission_for(number, &d->source), &d->source, by_wire,
		                              settings, now);

		if (verdict == DROP)
			return DROPPED(d, counters, dropped_no_permission);
		if (verdict == PASS)
			return PASS;
	}
	if (flow && !is_over(flow->until, settings, now)) {
		d->prefix[0] = bpf_htonl((__u32)flow->number << 16 | d->length);
		d->words = 1;
	} else if (!data_indication(d)) {
		return PASS;
	}
	d->bytes = d->length;
	d->source = half->listener;
	d->destination = half->client;
	d->clients_leg = counters;
	if (half->to_clients[0])
		d->to_clients = half->to_clients;
	return GO_ON;
}

// ---------------------------------------------------------------------------------------- writing

// Whether it is for the very host that it is from: to a relayed address here, as a rule.
static __always_inline bool goes_nowhere(const struct datagram *d)
{
	const __be32 *from = d->source.host, *to = d->destination.host;

	return from[0] == to[0] && from[1] == to[1] && from[2] == to[2] && from[3] == to[3];
}

// Whether the system need only deliver what came in on the loopback interface, with the route that
// it came with: addresses of this machine have no next hop.  That route is one of its family.
static __always_inline bool stays_on_loopback(struct frame frame, const struct datagram *d)
{
	if (frame.hook != AT_TC || interface_of(frame) != LOOPBACK)
		return false;
	return ((struct __sk_buff *)frame.ctx)->protocol == protocol_of(d->destination.family) &&
	       (goes_nowhere(d) || is_loopback(&d->destination));
}

static __always_inline __u32 ip_header_of(const struct datagram *d)
{
	return d->destination.family == FAMILY_IPV4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

// How many bytes follow the data: a message is padded, ChannelData over UDP is not.
static __always_inline __u32 padding_of(const struct datagram *d)
{
	return d->words > 1 ? -d->length & 3 : 0;
}

static __always_inline __u16 udp_length_of(const struct datagram *d)
{
	return UDP + d->words * 4 + d->length + padding_of(d);
}

// Where the next hop is, and by which interface: 0 where the system must find out, or cannot send
// the packet in one piece, or where it is here.
//
// The route is that of what this machine sends by itself, as if it came from the loopback
// interface; the system wants forwarding to be on for that one.
static __attribute__((noinline)) struct device *route(void *ctx, const struct datagram *d,
                                                      const struct settings *settings,
                                                      struct bpf_fib_lookup *fib)
{
	// No wire has those.
	if (is_loopback(&d->source))
		return 0;
	fib->ifindex = LOOPBACK;
	fib->l4_protocol = IPPROTO_UDP;
	fib->sport = d->source.port;
	fib->dport = d->destination.port;
	fib->tot_len = ip_header_of(d) + udp_length_of(d);
	if (d->destination.family == FAMILY_IPV4) {
		fib->family = AF_INET;
		fib->tos = settings->traffic_class;
		fib->ipv4_src = d->source.host[0];
		fib->ipv4_dst = d->destination.host[0];
	} else {
		fib->family = AF_INET6;
		fib->flowinfo = bpf_htonl((__u32)settings->traffic_class << 20);
		__builtin_memcpy(fib->ipv6_src, d->source.host, 16);
		__builtin_memcpy(fib->ipv6_dst, d->destination.host, 16);
	}
	if (bpf_fib_lookup(ctx, fib, sizeof(*fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return 0;
	return device_of(fib->ifindex, 0);
}

// RFC 8656 §14: a packet of this machine's own, with the code point that was set and no ECN.  It
// may be fragmented further on, so that its identification has to differ from others'.
static __always_inline void write_ipv4(struct iphdr *ip, const struct datagram *d,
                                       __u16 ip_length, const struct settings *settings)
{
	__u32 *word = (__u32 *)ip;

	word[0] = bpf_htonl(0x45000000u | (__u32)settings->traffic_class << 16 | ip_length);
	word[1] = bpf_htonl(bpf_get_prandom_u32() << 16);
	word[2] = bpf_htonl((__u32)settings->ttl << 24 | IPPROTO_UDP << 16);
	ip->saddr = d->source.host[0];
	ip->daddr = d->destination.host[0];
	ip->check = ~fold((__u64)word[0] + word[1] + word[2] + word[3] + word[4]);
}

static __always_inline void write_ipv6(struct ipv6hdr *ip, const struct datagram *d,
                                       __u16 ip_length, const struct settings *settings,
                                       __u8 hop_limit)
{
	__u32 *word = (__u32 *)ip;
	__u32 length = ip_length - sizeof(*ip);

	word[0] = bpf_htonl(6u << 28 | (__u32)settings->traffic_class << 20);
	word[1] = bpf_htonl(length << 16 | IPPROTO_UDP << 8 | hop_limit);
	__builtin_memcpy(&ip->saddr, d->source.host, 16);
	__builtin_memcpy(&ip->daddr, d->destination.host, 16);
}

// The UDP header, and the prefix after it; false where the packet ends before.  A checksum that is
// unfinished stays so.
static __always_inline bool write_udp(struct udphdr *udp, void *end, const struct datagram *d,
                                      __u16 udp_length, bool is_unfinished)
{
	__u32 *word = (void *)(udp + 1);
	__u64 sum = pseudo_header(d, udp_length);

	udp->source = d->source.port;
	udp->dest = d->destination.port;
	udp->len = bpf_htons(udp_length);
	sum += (__u64)udp->source + udp->dest + udp->len + d->sum;
	for (int i = 0; i < LARGEST_PREFIX; i++) {
		if (i >= d->words)
			break;
		if ((void *)(word + i + 1) > end)
			return false;
		word[i] = d->prefix[i];
		sum += d->prefix[i];
	}

	__u16 checksum = is_unfinished ? fold(pseudo_header(d, udp_length)) : ~fold(sum);

	// RFC 768: zero would say that there is none.
	udp->check = checksum ?: 0xffff;
	return true;
}

// RFC 8489 §14: the bytes up to a multiple of four are zeros here.
static __always_inline bool write_padding(void *at, void *end, __u32 size)
{
	__u8 *byte = at;

	for (int i = 0; i < 3; i++) {
		if (i >= size)
			break;
		AS_IT_IS(end);
		if ((void *)(byte + i + 1) > end)
			return false;
		byte[i] = 0;
	}
	return true;
}

static __always_inline void write_ethernet(void *data, const struct bpf_fib_lookup *fib,
                                           __u16 vlan, __u16 family)
{
	struct ethhdr *ethernet = data;
	__be16 protocol = protocol_of(family);

	__builtin_memcpy(ethernet->h_dest, fib->dmac, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, fib->smac, ETH_ALEN);
	if (vlan) {
		__be16 *tag = data + ETHERNET;

		ethernet->h_proto = bpf_htons(ETH_P_8021Q);
		tag[0] = bpf_htons(vlan);
		tag[1] = protocol;
	} else {
		ethernet->h_proto = protocol;
	}
}

// Send the datagram as it is now.
static __always_inline int write(struct frame frame, struct datagram *d,
                                 const struct settings *settings, const struct device *device,
                                 const struct bpf_fib_lookup *fib)
{
	__u32 ip_header = ip_header_of(d), prefix = d->words * 4, after = padding_of(d);
	__u16 udp_length = udp_length_of(d);
	__u16 vlan = vlan_in(frame, device);
	__u32 ip = vlan ? ETHERNET + VLAN_TAG : ETHERNET;
	enum verdict verdict = resize(frame, d, ip + ip_header + UDP + prefix, after);

	if (verdict == PASS)
		return pass(frame);
	// It is not passed on any more: nothing else may take of the buckets for it.
	if (verdict == DROP || !leave(d))
		return drop(frame);

	void *data = data_of(frame), *end = end_of(frame);
	void *udp = data + ip + ip_header;

	if (data + ip + sizeof(struct iphdr) + UDP > end)
		return give_up(frame);
	write_ethernet(data, fib, vlan, d->destination.family);
	if (d->destination.family == FAMILY_IPV4) {
		write_ipv4(data + ip, d, ip_header + udp_length, settings);
	} else {
		if (data + ip + sizeof(struct ipv6hdr) + UDP > end)
			return give_up(frame);
		write_ipv6(data + ip, d, ip_header + udp_length, settings, device->hop_limit);
	}
	AS_IT_IS(udp);
	if (udp + UDP > end)
		return give_up(frame);
	if (!write_udp(udp, end, d, udp_length, is_unfinished(frame, d)))
		return give_up(frame);
	// Masks tell the verifier how large these can be.
	if (after &&
	    !write_padding(udp + UDP + (prefix & 63) + (d->length & LARGEST_PACKET), end, after))
		return give_up(frame);
	return send(frame, device);
}

// ------------------------------------------------------------------------------------ the program

static __always_inline struct settings *read_settings(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&settings, &only);
}

static __always_inline struct flow *flow_of(const struct datagram *d)
{
	if (d->source.family == FAMILY_IPV4) {
		struct flow_ipv4 key = {
			.source = d->source.host[0],
			.destination = d->destination.host[0],
			.source_port = d->source.port,
			.destination_port = d->destination.port,
		};

		return bpf_map_lookup_elem(&flows_ipv4, &key);
	}

	struct flow_ipv6 key = {
		.source_port = d->source.port,
		.destination_port = d->destination.port,
	};

	__builtin_memcpy(key.source, d->source.host, 16);
	__builtin_memcpy(key.destination, d->destination.host, 16);
	return bpf_map_lookup_elem(&flows_ipv6, &key);
}

// To a peer, or to a client.
static __always_inline enum verdict relay(struct frame frame, struct datagram *d,
                                          const struct device *device,
                                          const struct settings *settings)
{
	// Whoever asks for a Binding, it is of no interest to whom else it sends.
	struct flow *flow = is_plain_binding(d) ? 0 : flow_of(d);
	struct local *local = flow ? 0 : bpf_map_lookup_elem(&locals, &d->destination);

	if (!flow && !local)
		return PASS;

	enum verdict verdict = check(frame, d, device);

	if (verdict != GO_ON)
		return verdict;
	if (local && local->kind == IS_LISTENER)
		return from_stranger(frame, d, local, settings);

	__u64 now = d->now = coarse_clock(settings);

	if (flow && !flow->number)
		return from_client(frame, d, flow, settings, now);

	__u32 number = flow ? flow->half : local ? local->half : 0;

	// It was not looked for yet.
	if (is_plain_binding(d))
		flow = flow_of(d);
	return to_relayed(d, device, number, flow, settings, now);
}

// Where the peer of a client is a relayed address here, to the client behind that one in one go.
// What is this machine's own besides is best left to the system, but for what only ``stays`` on
// loopback.
static __always_inline enum verdict relay_again(struct datagram *d, bool stays,
                                                const struct settings *settings)
{
	struct local *local = bpf_map_lookup_elem(&locals, &d->destination);

	if (!local)
		return stays ? GO_ON : PASS;
	if (!d->peers_leg || local->kind != IS_RELAYED)
		return PASS;
	return to_relayed(d, 0, local->half, flow_of(d), settings, d->now);
}

static __always_inline int treat(struct frame frame)
{
	struct settings *settings = read_settings();
	struct bpf_fib_lookup fib = {};
	struct datagram d = {};
	struct device *from, *to = 0;

	if (!settings || !read(frame, &from, &d))
		return pass(frame);

	// The verifier looks at what follows once for each table that a device can be from, unless no
	// more of it is needed.
	__u8 flags = from->flags;
	enum verdict verdict = relay(frame, &d, from, settings);

	if (verdict == GO_ON) {
		bool stays = stays_on_loopback(frame, &d);

		if (!stays && !goes_nowhere(&d))
			to = route(frame.ctx, &d, settings, &fib);
		if (!to) {
			verdict = relay_again(&d, stays, settings);
			if (verdict == GO_ON && stays_on_loopback(frame, &d))
				to = device_of(LOOPBACK, 0);
			else if (verdict == GO_ON)
				to = route(frame.ctx, &d, settings, &fib);
		}
	}
	switch (verdict) {
	case GO_ON:
		if (!to || !can_leave_by(frame, flags, to))
			return pass(frame);
		return write(frame, &d, settings, to, &fib);
	case DROP:
		return drop(frame);
	default:
		return pass(frame);
	}
}

SEC("xdp")
int natkit_relay(struct xdp_md *ctx)
{
	struct frame frame = { .ctx = ctx, .hook = AT_XDP };

	return treat(frame);
}

SEC("tc")
int natkit_relay_tc(struct __sk_buff *skb)
{
	struct frame frame = { .ctx = skb, .hook = AT_TC };

	return treat(frame);
}

// For the far end of a virtual cable, which takes what leaves by XDP only where a program runs.
SEC("xdp")
int natkit_pass(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}
