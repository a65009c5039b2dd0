package main

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// ruleset is what all NetworkPolicies together mean for the pods that are there now: addresses instead of selectors,
// numbers instead of port names. It is rendered by nftables() and can be asked by allows().
type ruleset struct {
	// anyPolicy says whether there is a policy at all. Without one, nothing is restricted.
	anyPolicy bool
	// pods holds the address of every pod, restricted or not, in order.
	pods []netip.Addr
	// egress and ingress hold the restricted pods: what they may begin, and what may be begun with them.
	egress, ingress map[netip.Addr][]rule
}

// rule allows traffic with a peer. An empty list of rules allows nothing.
type rule struct {
	peer peer
	// ports that it is about; none means every port and protocol.
	ports []portRange
}

// peer is everybody, or the addresses of pods, or a block of addresses.
type peer struct {
	everybody bool
	addresses []netip.Addr // in order
	block     netip.Prefix
	except    []netip.Prefix
}

// portRange is a range of one protocol's ports, both ends included.
type portRange struct {
	protocol    corev1.Protocol
	first, last int
}

const lastPort = 65535

func (p peer) has(address netip.Addr) bool {
	if p.everybody {
		return true
	}
	if p.block.IsValid() {
		outside := func(except netip.Prefix) bool { return except.Contains(address) }
		return p.block.Contains(address) && !slices.ContainsFunc(p.except, outside)
	}
	_, found := slices.BinarySearchFunc(p.addresses, address, netip.Addr.Compare)
	return found
}

func (r rule) allows(address netip.Addr, protocol corev1.Protocol, port int) bool {
	in := func(p portRange) bool { return p.protocol == protocol && p.first <= port && port <= p.last }
	return r.peer.has(address) && (len(r.ports) == 0 || slices.ContainsFunc(r.ports, in))
}

// allows says whether source may begin to talk to a port of destination.
func (r *ruleset) allows(source, destination netip.Addr, protocol corev1.Protocol, port int) bool {
	if source == destination {
		return true
	}
	passes := func(restricted map[netip.Addr][]rule, of, other netip.Addr) bool {
		rules, ok := restricted[of]
		return !ok || slices.ContainsFunc(rules, func(r rule) bool { return r.allows(other, protocol, port) })
	}
	return passes(r.egress, source, destination) && passes(r.ingress, destination, source)
}
