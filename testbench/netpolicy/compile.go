package main

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// compiler knows the cluster as it is at one moment.
type compiler struct {
	namespaces map[string]labels.Set
	pods       map[netip.Addr]*corev1.Pod
	order      []netip.Addr // the keys of pods
}

// compile works out what the policies mean for the pods.
func compile(policies []*networkingv1.NetworkPolicy, pods []*corev1.Pod, namespaces []*corev1.Namespace) (*ruleset, error) {
	c := compiler{namespaces: map[string]labels.Set{}, pods: map[netip.Addr]*corev1.Pod{}}
	for _, namespace := range namespaces {
		c.namespaces[namespace.Name] = namespace.Labels
	}
	for _, pod := range pods {
		c.add(pod)
	}
	c.order = slices.SortedFunc(maps.Keys(c.pods), netip.Addr.Compare)
	// The same objects must give the same text, in whatever order they were listed.
	policies = slices.SortedFunc(slices.Values(policies), func(a, b *networkingv1.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	all := &ruleset{
		anyPolicy: len(policies) > 0, pods: c.order,
		egress: map[netip.Addr][]rule{}, ingress: map[netip.Addr][]rule{},
	}
	for _, policy := range policies {
		selected, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
		if err != nil {
			return nil, err
		}
		ingress, egress := directions(&policy.Spec)
		for _, address := range c.order {
			pod := c.pods[address]
			if pod.Namespace != policy.Namespace || !selected.Matches(labels.Set(pod.Labels)) {
				continue
			}
			if ingress {
				rules := all.ingress[address]
				for _, allowed := range policy.Spec.Ingress {
					// The names of ports are those of the pod that the policy selects.
					named := func(name string, protocol corev1.Protocol) map[int][]netip.Addr {
						ports := map[int][]netip.Addr{}
						for _, number := range numbers(pod, name, protocol) {
							ports[number] = nil
						}
						return ports
					}
					if rules, err = c.rules(rules, policy.Namespace, allowed.From, allowed.Ports, named); err != nil {
						return nil, err
					}
				}
				all.ingress[address] = rules
			}
			if egress {
				rules := all.egress[address]
				for _, allowed := range policy.Spec.Egress {
					// The names of ports are those of the pod at the other end, one by one.
					if rules, err = c.rules(rules, policy.Namespace, allowed.To, allowed.Ports, c.named); err != nil {
						return nil, err
					}
				}
				all.egress[address] = rules
			}
		}
	}
	return all, nil
}

// add takes a pod in if it has an address of its own.
func (c *compiler) add(pod *corev1.Pod) {
	address, err := netip.ParseAddr(pod.Status.PodIP)
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if err != nil || !address.Is4() || pod.Spec.HostNetwork || ended {
		return
	}
	// An address has one owner at a time; while an old one is still listed, the newer has it.
	if other, taken := c.pods[address]; taken && pod.CreationTimestamp.Before(&other.CreationTimestamp) {
		return
	}
	c.pods[address] = pod
}

// directions says what a policy is about. The API server fills policyTypes in by the same rule.
func directions(spec *networkingv1.NetworkPolicySpec) (ingress, egress bool) {
	if len(spec.PolicyTypes) == 0 {
		return true, len(spec.Egress) > 0
	}
	return slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeIngress),
		slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeEgress)
}

// resolve finds the numbers of a port's name and, for each, the addresses where it has that number (nil: everywhere).
type resolve func(name string, protocol corev1.Protocol) map[int][]netip.Addr

// rules appends what one entry of a policy allows.
func (c *compiler) rules(rules []rule, namespace string, from []networkingv1.NetworkPolicyPeer,
	ports []networkingv1.NetworkPolicyPort, named resolve) ([]rule, error) {
	peers := []peer{{everybody: true}}
	if len(from) > 0 {
		peers = nil
		for _, one := range from {
			resolved, err := c.peer(namespace, one)
			if err != nil {
				return nil, err
			}
			peers = append(peers, resolved)
		}
	}
	for _, peer := range peers {
		if len(ports) == 0 {
			rules = append(rules, rule{peer: peer})
			continue
		}
		numbered := rule{peer: peer}
		for _, port := range ports {
			protocol := corev1.ProtocolTCP
			if port.Protocol != nil {
				protocol = *port.Protocol
			}
			switch {
			case port.Port == nil:
				numbered.ports = append(numbered.ports, portRange{protocol, 0, lastPort})
			case port.Port.Type == intstr.String:
				where := named(port.Port.StrVal, protocol)
				for _, number := range slices.Sorted(maps.Keys(where)) {
					rules = append(rules, rule{peer.at(where[number]), []portRange{{protocol, number, number}}})
				}
			default:
				first := int(port.Port.IntVal)
				last := first
				if port.EndPort != nil {
					last = int(*port.EndPort)
				}
				numbered.ports = append(numbered.ports, portRange{protocol, first, last})
			}
		}
		if len(numbered.ports) > 0 {
			rules = append(rules, numbered)
		}
	}
	return rules, nil
}

// at is those of a peer's addresses that are among some; nil stands for all.
func (p peer) at(addresses []netip.Addr) peer {
	if addresses == nil {
		return p
	}
	var both []netip.Addr
	for _, address := range addresses {
		if p.has(address) {
			both = append(both, address)
		}
	}
	return peer{addresses: both}
}

// peer turns selectors into the addresses of pods.
func (c *compiler) peer(namespace string, of networkingv1.NetworkPolicyPeer) (peer, error) {
	if of.IPBlock != nil {
		return block(of.IPBlock)
	}
	inNamespace := func(name string) bool { return name == namespace }
	if of.NamespaceSelector != nil {
		selector, err := metav1.LabelSelectorAsSelector(of.NamespaceSelector)
		if err != nil {
			return peer{}, err
		}
		inNamespace = func(name string) bool {
			found, known := c.namespaces[name]
			return known && selector.Matches(found)
		}
	}
	selector := labels.Everything()
	if of.PodSelector != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(of.PodSelector); err != nil {
			return peer{}, err
		}
	}
	var found peer
	for _, address := range c.order {
		pod := c.pods[address]
		if inNamespace(pod.Namespace) && selector.Matches(labels.Set(pod.Labels)) {
			found.addresses = append(found.addresses, address)
		}
	}
	return found, nil
}

func block(of *networkingv1.IPBlock) (peer, error) {
	prefix, err := netip.ParsePrefix(of.CIDR)
	if err != nil {
		return peer{}, err
	}
	found := peer{block: prefix.Masked()}
	for _, text := range of.Except {
		except, err := netip.ParsePrefix(text)
		if err != nil {
			return peer{}, err
		}
		found.except = append(found.except, except.Masked())
	}
	return found, nil
}

// named finds the pods that have a port of that name.
func (c *compiler) named(name string, protocol corev1.Protocol) map[int][]netip.Addr {
	where := map[int][]netip.Addr{}
	for _, address := range c.order {
		for _, number := range numbers(c.pods[address], name, protocol) {
			where[number] = append(where[number], address)
		}
	}
	return where
}

// numbers finds what a pod calls by that name.
func numbers(pod *corev1.Pod, name string, protocol corev1.Protocol) []int {
	var found []int
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			// The API server fills a missing protocol in.
			if port.Name == name && cmp.Or(port.Protocol, corev1.ProtocolTCP) == protocol {
				found = append(found, int(port.ContainerPort))
			}
		}
	}
	return found
}
