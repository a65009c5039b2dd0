package main

// Random clusters and policies, small enough that most of them interfere.

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// world is a cluster with its policies.
type world struct {
	namespaces []*corev1.Namespace
	pods       []*corev1.Pod
	policies   []*networkingv1.NetworkPolicy
}

// endpoint is an address that something can be sent from and to.
type endpoint struct {
	address netip.Addr
	pod     *corev1.Pod // nil: not in the cluster
}

type socket struct {
	protocol corev1.Protocol
	port     int
}

var (
	driver   = netip.MustParseAddr("10.231.0.1")
	external = netip.MustParseAddr("203.0.113.2")
	subnet   = netip.MustParsePrefix("10.231.0.0/22")
	sockets  = []socket{
		{corev1.ProtocolTCP, 80}, {corev1.ProtocolTCP, 81}, {corev1.ProtocolTCP, 8080},
		{corev1.ProtocolUDP, 53}, {corev1.ProtocolUDP, 80}, {corev1.ProtocolSCTP, 80},
	}
	portNames = []string{"web", "dns", "other"}
	blocks    = []string{"0.0.0.0/0", "10.231.0.0/22", "10.231.0.8/29", "10.231.0.1/32", "203.0.113.0/24", "203.0.113.2/32", "fd00::/8"}
	excepts   = []string{"10.231.0.10/31", "10.231.0.0/29", "10.231.0.12/32", "203.0.113.0/28", "10.231.0.8/30"}
	keys      = []string{"job", "tier"}
	values    = []string{"a", "b", "c"}
)

type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 5))} }

func pick[T any](g generator, from []T) T { return from[g.IntN(len(from))] }

func (g generator) often(of int) bool { return g.IntN(of) > 0 }

func (g generator) labels() map[string]string {
	found := map[string]string{}
	for _, key := range keys {
		if g.often(4) {
			found[key] = pick(g, values)
		}
	}
	return found
}

func (g generator) world() *world {
	w := &world{}
	for _, name := range []string{"x", "y", "z"} {
		w.namespaces = append(w.namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: g.labels()}})
		for range 3 {
			w.pods = append(w.pods, g.pod(name, len(w.pods)))
		}
	}
	for n := range 1 + g.IntN(6) {
		w.policies = append(w.policies, g.policy(n))
	}
	return w
}

func (g generator) pod(namespace string, number int) *corev1.Pod {
	ports := []corev1.ContainerPort{{Name: "web", Protocol: corev1.ProtocolTCP, ContainerPort: pick(g, []int32{80, 8080})}}
	if g.often(2) {
		ports = append(ports, corev1.ContainerPort{Name: "dns", Protocol: corev1.ProtocolUDP, ContainerPort: 53})
	}
	if g.often(2) {
		ports = append(ports, corev1.ContainerPort{Name: "other", ContainerPort: 81})
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("pod-%d", number), Labels: g.labels()},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: ports}}},
		Status:     corev1.PodStatus{PodIP: fmt.Sprintf("10.231.0.%d", 8+number), Phase: corev1.PodRunning},
	}
}

func (g generator) selector() metav1.LabelSelector {
	selector := metav1.LabelSelector{}
	if g.often(2) {
		selector.MatchLabels = map[string]string{pick(g, keys): pick(g, values)}
	}
	if g.often(2) {
		key := pick(g, keys)
		one := metav1.LabelSelectorRequirement{Key: key, Operator: pick(g, []metav1.LabelSelectorOperator{
			metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist})}
		if one.Operator == metav1.LabelSelectorOpIn || one.Operator == metav1.LabelSelectorOpNotIn {
			one.Values = []string{pick(g, values), pick(g, values)}
		}
		selector.MatchExpressions = append(selector.MatchExpressions, one)
		if one.Operator == metav1.LabelSelectorOpNotIn {
			// Without the key, cyclonus says that NotIn does not match; Kubernetes says that it does, see
			// TestNotInMatchesWithoutTheKey.
			selector.MatchExpressions = append(selector.MatchExpressions,
				metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpExists})
		}
	}
	return selector
}

func (g generator) peer() networkingv1.NetworkPolicyPeer {
	if !g.often(3) {
		block := &networkingv1.IPBlock{CIDR: pick(g, blocks)}
		for g.often(2) && len(block.Except) < 3 {
			block.Except = append(block.Except, pick(g, excepts))
		}
		return networkingv1.NetworkPolicyPeer{IPBlock: block}
	}
	var peer networkingv1.NetworkPolicyPeer
	pods, namespaces := g.selector(), g.selector()
	switch g.IntN(3) {
	case 0:
		peer.PodSelector = &pods
	case 1:
		peer.NamespaceSelector = &namespaces
	default:
		peer.PodSelector, peer.NamespaceSelector = &pods, &namespaces
	}
	return peer
}

func (g generator) port() networkingv1.NetworkPolicyPort {
	var port networkingv1.NetworkPolicyPort
	one := pick(g, sockets)
	if one.protocol != corev1.ProtocolTCP || g.often(2) {
		port.Protocol = &one.protocol
	}
	switch g.IntN(5) {
	case 0: // all of the protocol
	case 1:
		name := intstr.FromString(pick(g, portNames))
		port.Port = &name
	case 2:
		first := intstr.FromInt(one.port)
		last := int32(one.port + pick(g, []int{0, 1, 30, 9000}))
		port.Port, port.EndPort = &first, &last
	default:
		number := intstr.FromInt(one.port)
		port.Port = &number
	}
	return port
}

func several[T any](g generator, most int, make func() T) []T {
	var all []T
	for range g.IntN(most + 1) {
		all = append(all, make())
	}
	return all
}

func (g generator) policy(number int) *networkingv1.NetworkPolicy {
	policy := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: pick(g, []string{"x", "y", "z"}), Name: fmt.Sprintf("policy-%d", number)},
	}
	if g.often(3) {
		policy.Spec.PodSelector = g.selector()
	}
	policy.Spec.PolicyTypes = pick(g, [][]networkingv1.PolicyType{
		nil, {networkingv1.PolicyTypeIngress}, {networkingv1.PolicyTypeEgress},
		{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
	})
	policy.Spec.Ingress = several(g, 3, func() networkingv1.NetworkPolicyIngressRule {
		return networkingv1.NetworkPolicyIngressRule{From: several(g, 3, g.peer), Ports: several(g, 3, g.port)}
	})
	policy.Spec.Egress = several(g, 3, func() networkingv1.NetworkPolicyEgressRule {
		return networkingv1.NetworkPolicyEgressRule{To: several(g, 3, g.peer), Ports: several(g, 3, g.port)}
	})
	return policy
}

// endpoints are the pods, the driver's address and one outside.
func (w *world) endpoints() []endpoint {
	all := []endpoint{{address: driver}, {address: external}}
	for _, pod := range w.pods {
		all = append(all, endpoint{netip.MustParseAddr(pod.Status.PodIP), pod})
	}
	return all
}
