package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// tableName is the table of ours; `bench down` removes it by this name.
const tableName = "bench-netpolicy"

// node is what the rules need to know about the machine.
type node struct {
	bridge  string
	address netip.Addr   // the bridge's own
	subnet  netip.Prefix // the pods'
}

// nftables renders the rules as one transaction that replaces the whole table (nft(8)).
//
// A restricted pod has a chain for each direction that returns on what is allowed and ends in drop; pods with the same
// rules share one. All hooks run after kube-proxy's DNAT (priority dstnat), so they see pods instead of services and the
// API server's own address and port instead of its service's:
//
//   - forward: between pods, which br_netfilter brings here although it is bridged, and between pods and the world;
//   - input: from a pod to this machine, where the API server is as well;
//   - output: from this machine, where drivers are, to a pod.
//
// Packets of the answering side pass, those of the asking side are looked at one by one: a connection that is no longer
// allowed ends.
func nftables(r *ruleset, n node) string {
	var text strings.Builder
	line := func(format string, values ...any) { fmt.Fprintf(&text, format+"\n", values...) }
	line("table inet %s", tableName) // so that there is one to delete
	line("delete table inet %s", tableName)
	line("table inet %s {", tableName)

	chains := map[string]string{} // content to name
	dispatch := func(direction, other string, restricted map[netip.Addr][]rule) {
		var elements []string
		for _, address := range slices.SortedFunc(maps.Keys(restricted), netip.Addr.Compare) {
			content := chain(restricted[address], other)
			name, known := chains[direction+content]
			if !known {
				name = fmt.Sprintf("%s-%d", direction, len(chains))
				chains[direction+content] = name
				line("  chain %s {\n%s  }", name, content)
			}
			elements = append(elements, fmt.Sprintf("%s : jump %s", address, name))
		}
		line("  map %s { type ipv4_addr : verdict; %s}", direction, elementsOf(elements))
	}
	dispatch("egress", "daddr", r.egress)
	dispatch("ingress", "saddr", r.ingress)
	var known, itself []string
	for _, address := range append([]netip.Addr{n.address}, r.pods...) {
		known = append(known, address.String())
		itself = append(itself, fmt.Sprintf("%s . %s", address, address))
	}
	line("  set known { type ipv4_addr; %s}", elementsOf(known))
	line("  set itself { type ipv4_addr . ipv4_addr; %s}", elementsOf(itself))

	for _, hook := range []string{"forward", "input", "output"} {
		line("  chain %s {", hook)
		line("    type filter hook %s priority filter; policy accept;", hook)
		if r.anyPolicy {
			line("    ct direction reply accept")
			line("    ct state related accept")
			// A service of a pod's that leads back to the pod.
			line("    ip saddr . ip daddr @itself accept")
			if hook != "output" {
				// Pods have link-local IPv6 addresses as well, which no policy can name.
				line("    iifname %q meta nfproto ipv6 drop", n.bridge)
				// The kubelet tells a pod's address up to seconds after the pod's start. Until then it might be
				// restricted, so it has to wait.
				line("    ip saddr %s ip saddr != @known drop", n.subnet)
				line("    ip saddr vmap @egress")
			}
			if hook != "input" {
				line("    ip daddr %s ip daddr != @known drop", n.subnet)
				line("    ip daddr vmap @ingress")
			}
		}
		line("  }")
	}
	line("}")
	return text.String()
}

func elementsOf(elements []string) string {
	if len(elements) == 0 {
		return "" // nft takes no empty list
	}
	return "elements = { " + strings.Join(elements, ", ") + " } "
}

// chain is the content of a restricted pod's chain; other says which address is the peer's.
func chain(rules []rule, other string) string {
	var text strings.Builder
	for _, rule := range rules {
		match, possible := matchPeer(rule.peer, other)
		if !possible {
			continue
		}
		ports := []string{""}
		if len(rule.ports) > 0 {
			ports = nil
			for _, port := range rule.ports {
				ports = append(ports, matchPort(port))
			}
		}
		for _, port := range ports {
			fmt.Fprintf(&text, "    %s%sreturn\n", match, port)
		}
	}
	return text.String() + "    drop\n"
}

// matchPeer is the match for a peer, or false when no IPv4 address can match.
func matchPeer(p peer, other string) (string, bool) {
	switch {
	case p.everybody:
		return "", true
	case p.block.IsValid():
		if !p.block.Addr().Is4() {
			return "", false
		}
		match := ""
		if p.block.Bits() > 0 {
			match = fmt.Sprintf("ip %s %s ", other, p.block)
		}
		for _, except := range p.except {
			match += fmt.Sprintf("ip %s != %s ", other, except)
		}
		return match, true
	default:
		var addresses []string
		for _, address := range p.addresses {
			addresses = append(addresses, address.String())
		}
		return fmt.Sprintf("ip %s { %s } ", other, strings.Join(addresses, ", ")), len(addresses) > 0
	}
}

func matchPort(p portRange) string {
	protocol := strings.ToLower(string(p.protocol))
	switch {
	case p.first == 0 && p.last == lastPort:
		return fmt.Sprintf("meta l4proto %s ", protocol)
	case p.first == p.last:
		return fmt.Sprintf("%s dport %d ", protocol, p.first)
	default:
		return fmt.Sprintf("%s dport %d-%d ", protocol, p.first, p.last)
	}
}
