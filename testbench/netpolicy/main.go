// Command netpolicy enforces NetworkPolicy objects on the test bench's node: it watches them with the pods and
// namespaces that they select, and renders all of them into one table of nftables.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// pause is the time between two tables: what changes meanwhile goes into one.
	pause = 50 * time.Millisecond
	// retry is the time until a refused table is tried again.
	retry = time.Second
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig `FILE`")
	bridge := flag.String("bridge", "", "`INTERFACE` that the pods are at")
	address := flag.String("address", "", "the bridge's `ADDRESS`")
	subnet := flag.String("pods", "", "`SUBNET` of the pods")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *kubeconfig, *bridge, *address, *subnet); err != nil {
		fmt.Fprintln(os.Stderr, "netpolicy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, bridge, address, subnet string) error {
	n := node{bridge: bridge}
	var err error
	if n.address, err = netip.ParseAddr(address); err != nil {
		return err
	}
	if n.subnet, err = netip.ParsePrefix(subnet); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(config, "netpolicy"))
	if err != nil {
		return err
	}

	factory := informers.NewSharedInformerFactory(client, 0)
	policies := factory.Networking().V1().NetworkPolicies()
	pods := factory.Core().V1().Pods()
	namespaces := factory.Core().V1().Namespaces()
	// Holds one word at most: there is something to do.
	changed := make(chan struct{}, 1)
	note := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	var synced []cache.InformerSynced
	for _, informer := range []cache.SharedIndexInformer{policies.Informer(), pods.Informer(), namespaces.Informer()} {
		handle, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { note() },
			UpdateFunc: func(any, any) { note() },
			DeleteFunc: func(any) { note() },
		})
		if err != nil {
			return err
		}
		synced = append(synced, handle.HasSynced)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}

	note()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		// The listers of synced informers read memory; they fail never.
		allPolicies, _ := policies.Lister().List(labels.Everything())
		allPods, _ := pods.Lister().List(labels.Everything())
		allNamespaces, _ := namespaces.Lister().List(labels.Everything())
		rules, err := compile(allPolicies, allPods, allNamespaces)
		if err == nil {
			if text := nftables(rules, n); text != last {
				if err = load(text); err == nil {
					log.Printf("%d policies, %d pods, %d restricted for egress, %d for ingress",
						len(allPolicies), len(rules.pods), len(rules.egress), len(rules.ingress))
					last = text
				}
			}
		}
		wait := pause
		if err != nil {
			// The old table stays: it is better than none.
			log.Printf("not enforced, trying again: %v", err)
			wait = retry
			note()
		}
		time.Sleep(wait)
	}
}

// load hands a table to the kernel, all of it or nothing.
func load(text string) error {
	command := exec.Command("nft", "-f", "-")
	command.Stdin = strings.NewReader(text)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, output)
	}
	return nil
}
