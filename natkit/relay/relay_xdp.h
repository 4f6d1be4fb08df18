// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Packets at the hook of XDP: in the driver of a card (native), or right after it (generic), where
// they are the system's own.
//
//     | Ethernet | tag? | IP | UDP | data | ... |
//     ^ data                                    ^ data_end

#pragma once

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "relay_datagram.h"
#include "relay_tables.h"

// Whether a datagram may be changed whose checksum has the pseudo header alone.
//
// A sender on this machine leaves the sum of the data to a card that is none.  A driver's packet is
// bytes and no more, but the system's own packets remember so, and from where on the sum is to be
// taken: changed by this hook, they would leave the machine spoilt.  Such a packet may be several
// datagrams in one, too, which only the system can tell apart.
static __always_inline enum verdict xdp_without_sum(const struct device *device)
{
	return device->flags & RUNS_ON_SKB ? PASS : GO_ON;
}

// As resize() says: the front moves, and the end.
static __always_inline enum verdict xdp_resize(struct xdp_md *ctx, const struct datagram *d,
                                               __u32 headers, __u32 after)
{
	int ahead = (int)d->offset - (int)headers;

	if (ahead && bpf_xdp_adjust_head(ctx, ahead))
		return PASS;

	int beyond = (int)(headers + d->length + after) - (int)(ctx->data_end - ctx->data);

	if (beyond && bpf_xdp_adjust_tail(ctx, beyond)) {
		bpf_xdp_adjust_head(ctx, -ahead);
		return PASS;
	}
	return GO_ON;
}

static __always_inline int xdp_send(struct xdp_md *ctx, const struct device *device)
{
	return device->port == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(device->port, 0);
}
