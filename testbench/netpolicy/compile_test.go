package main

import (
	"cmp"
	"testing"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const worlds = 500

// Another program's reading of the same policies: every source, destination and port of every world.
func TestVerdictsAreThoseOfCyclonus(t *testing.T) {
	verdicts := map[bool]int{}
	for seed := range uint64(worlds) {
		w := newGenerator(seed).world()
		rules, err := compile(w.policies, w.pods, w.namespaces)
		if err != nil {
			t.Fatal(err)
		}
		independent := w.cyclonus()
		for _, from := range w.endpoints() {
			for _, to := range w.endpoints() {
				if from == to || from.pod == nil && to.pod == nil {
					continue
				}
				for _, s := range sockets {
					got := rules.allows(from.address, to.address, s.protocol, s.port)
					want := independent.IsTrafficAllowed(w.traffic(from, to, s))
					if got != want.IsAllowed() {
						t.Fatalf("world %d: %s to %s %v: %v, and cyclonus says\n%s", seed, from.address, to.address, s, got, want.Table())
					}
					verdicts[got]++
				}
			}
		}
	}
	t.Logf("%d worlds, %d allowed, %d refused", worlds, verdicts[true], verdicts[false])
	// Worlds in which nearly everything passes or nearly nothing would show little.
	total := verdicts[true] + verdicts[false]
	if min(verdicts[true], verdicts[false]) < total/5 {
		t.Errorf("the worlds are one-sided: %v", verdicts)
	}
}

func (w *world) cyclonus() *matcher.Policy {
	var policies []*networkingv1.NetworkPolicy
	for _, policy := range w.policies {
		// cyclonus wants what the API server fills in.
		policy = policy.DeepCopy()
		if len(policy.Spec.PolicyTypes) == 0 {
			policy.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
			if policy.Spec.Egress != nil {
				policy.Spec.PolicyTypes = append(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
			}
		}
		policies = append(policies, policy)
	}
	return matcher.BuildNetworkPolicies(false, policies)
}

func (w *world) traffic(from, to endpoint, s socket) *matcher.Traffic {
	peer := func(of endpoint) *matcher.TrafficPeer {
		peer := &matcher.TrafficPeer{IP: of.address.String()}
		if of.pod != nil {
			peer.Internal = &matcher.InternalPeer{Namespace: of.pod.Namespace, PodLabels: of.pod.Labels}
			for _, namespace := range w.namespaces {
				if namespace.Name == of.pod.Namespace {
					peer.Internal.NamespaceLabels = namespace.Labels
				}
			}
		}
		return peer
	}
	traffic := &matcher.Traffic{Source: peer(from), Destination: peer(to), ResolvedPort: s.port, Protocol: s.protocol}
	if to.pod != nil {
		for _, port := range to.pod.Spec.Containers[0].Ports {
			if int(port.ContainerPort) == s.port && cmp.Or(port.Protocol, corev1.ProtocolTCP) == s.protocol {
				traffic.ResolvedPortName = port.Name
			}
		}
	}
	return traffic
}

// Where cyclonus is wrong: "The NotIn operator matches labels without that key too" (Kubernetes' documentation of
// set-based requirements).
func TestNotInMatchesWithoutTheKey(t *testing.T) {
	w := newGenerator(0).world()
	for _, pod := range w.pods {
		pod.Labels = map[string]string{}
	}
	w.policies = []*networkingv1.NetworkPolicy{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "deny"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "job", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"a"}}}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		},
	}}
	rules, err := compile(w.policies, w.pods, w.namespaces)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules.ingress) != 3 || len(rules.egress) != 0 {
		t.Errorf("restricted: %v and %v", rules.ingress, rules.egress)
	}
}

// Pods that have ended, that have no address yet or that have the node's are nobody's peers and not restricted.
func TestOnlyPodsWithAnAddressOfTheirOwnCount(t *testing.T) {
	w := newGenerator(0).world()
	w.pods[0].Status.Phase = corev1.PodSucceeded
	w.pods[1].Status.PodIP = ""
	w.pods[2].Spec.HostNetwork = true
	w.policies = []*networkingv1.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "deny"}}}
	rules, err := compile(w.policies, w.pods, w.namespaces)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules.pods) != 6 || len(rules.ingress) != 0 {
		t.Errorf("%v, restricted: %v", rules.pods, rules.ingress)
	}
}
