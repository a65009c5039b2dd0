package main

// The rendered table under real packets: pods are network namespaces at a bridge, as on the bench's node.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

const (
	trafficWorlds = 8
	patience      = 30 * time.Second
)

// space is a network namespace: a thread that is in it.
type space struct {
	work    chan func()
	thread  int
	address netip.Addr
}

func newSpace(t *testing.T) *space {
	s := &space{work: make(chan func())}
	started := make(chan error)
	go func() {
		// Never unlocked: the thread, and with it the namespace, ends with the goroutine.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		s.thread = unix.Gettid()
		started <- err
		for f := range s.work {
			f()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal("unshare: ", err)
	}
	t.Cleanup(func() { close(s.work) })
	return s
}

// in runs a function in the namespace.
func (s *space) in(f func()) {
	done := make(chan struct{})
	s.work <- func() { defer close(done); f() }
	<-done
}

// run runs a command in the namespace.
func (s *space) run(t *testing.T, input string, words ...string) {
	t.Helper()
	var output []byte
	var err error
	s.in(func() {
		command := exec.Command(words[0], words[1:]...)
		command.Stdin = strings.NewReader(input)
		output, err = command.CombinedOutput()
	})
	if err != nil {
		t.Fatalf("%v: %v: %s", words, err, output)
	}
}

// lab is a node with its pods and a host outside.
type lab struct {
	node   *space
	places map[netip.Addr]*space
	mutex  sync.Mutex
	got    map[uint32]bool // datagrams that have arrived
}

// newLab makes a namespace for every endpoint, all of which listen at every port.
func newLab(t *testing.T, all []endpoint) *lab {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	l := &lab{node: newSpace(t), places: map[netip.Addr]*space{}, got: map[uint32]bool{}}
	l.node.address = driver
	l.places[driver] = l.node
	l.node.run(t, "", "sh", "-euc", `ip link set lo up
		ip link add bench0 type bridge; ip address add 10.231.0.1/22 dev bench0; ip link set bench0 up
		echo 1 > /proc/sys/net/ipv4/ip_forward
		echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
		echo 1 > /proc/sys/net/bridge/bridge-nf-call-ip6tables`)
	for number, one := range all {
		if one.address == driver {
			continue
		}
		s := newSpace(t)
		s.address = one.address
		l.places[one.address] = s
		link := fmt.Sprintf("veth%d", number)
		l.node.run(t, "", "ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(s.thread))
		own, gateway := one.address.String()+"/22", "10.231.0.1"
		if one.pod == nil {
			own, gateway = one.address.String()+"/24", "203.0.113.1"
			l.node.run(t, "", "ip", "address", "add", gateway+"/24", "dev", link)
		} else {
			l.node.run(t, "", "ip", "link", "set", link, "master", "bench0")
		}
		l.node.run(t, "", "ip", "link", "set", link, "up")
		s.run(t, "", "sh", "-euc", `ip link set lo up; ip address add "$1" dev eth0; ip link set eth0 up
			ip route add default via "$2"`, "sh", own, gateway)
	}
	for _, s := range l.places {
		l.listen(t, s)
	}
	return l
}

func (l *lab) listen(t *testing.T, s *space) {
	for _, one := range sockets {
		address := netip.AddrPortFrom(s.address, uint16(one.port)).String()
		var err error
		switch one.protocol {
		case corev1.ProtocolTCP:
			var listener net.Listener
			// The kernel makes connections without anybody who accepts them.
			s.in(func() { listener, err = net.Listen("tcp4", address) })
			if err == nil {
				t.Cleanup(func() { listener.Close() })
			}
		case corev1.ProtocolUDP:
			var packets net.PacketConn
			s.in(func() { packets, err = net.ListenPacket("udp4", address) })
			if err == nil {
				t.Cleanup(func() { packets.Close() })
				go l.receive(packets)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (l *lab) receive(packets net.PacketConn) {
	buffer := make([]byte, 16)
	for {
		n, _, err := packets.ReadFrom(buffer)
		if err != nil {
			return
		}
		if n == 4 {
			l.mutex.Lock()
			l.got[binary.BigEndian.Uint32(buffer)] = true
			l.mutex.Unlock()
		}
	}
}

// probe is one attempt that is under way.
type probe struct {
	from, to netip.Addr
	socket
	number uint32
	fd     int
}

// start begins to connect, or sends a datagram.
func (l *lab) start(t *testing.T, p *probe) {
	kind := unix.SOCK_STREAM
	if p.protocol == corev1.ProtocolUDP {
		kind = unix.SOCK_DGRAM
	}
	var err error
	l.places[p.from].in(func() {
		p.fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(p.fd, &unix.SockaddrInet4{Port: p.port, Addr: p.to.As4()})
		}
	})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		// A machine's own packets that it drops itself are refused at once.
		if !errors.Is(err, unix.EPERM) {
			t.Fatal(err)
		}
		return
	}
	l.send(p)
}

// send sends a datagram; more than one does no harm, and one may be lost while a neighbour is looked for.
func (l *lab) send(p *probe) {
	if p.protocol == corev1.ProtocolUDP {
		_, _ = unix.Write(p.fd, binary.BigEndian.AppendUint32(nil, p.number))
	}
}

// arrived says whether a probe has got through.
func (l *lab) arrived(p *probe) bool {
	if p.protocol == corev1.ProtocolUDP {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		return l.got[p.number]
	}
	_, err := unix.Getpeername(p.fd) // ENOTCONN until it is connected
	return err == nil
}

// check sends every probe and compares what arrives with what should.
func (l *lab) check(t *testing.T, name string, probes []*probe, want func(*probe) bool) (allowed, refused int) {
	defer func() {
		for _, p := range probes {
			unix.Close(p.fd)
		}
	}()
	for _, p := range probes {
		l.start(t, p)
	}
	deadline := time.Now().Add(patience)
	for _, p := range probes {
		if !want(p) {
			continue
		}
		allowed++
		for !l.arrived(p) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s to %s %v does not get through", name, p.from, p.to, p.socket)
			}
			time.Sleep(20 * time.Millisecond)
			l.send(p)
		}
	}
	// All that is to arrive has; what is not to had the same time, and gets some more.
	time.Sleep(200 * time.Millisecond)
	for _, p := range probes {
		if !want(p) {
			refused++
			if l.arrived(p) {
				t.Fatalf("%s: %s to %s %v gets through", name, p.from, p.to, p.socket)
			}
		}
	}
	return allowed, refused
}

func probes(all []endpoint) []*probe {
	var found []*probe
	for _, from := range all {
		for _, to := range all {
			if from == to || from.pod == nil && to.pod == nil {
				continue
			}
			for _, s := range sockets {
				if s.protocol != corev1.ProtocolSCTP { // a kernel need not have it
					found = append(found, &probe{from: from.address, to: to.address, socket: s, number: sent.Add(1)})
				}
			}
		}
	}
	return found
}

// sent numbers the probes of all tests.
var sent atomic.Uint32

var bench = node{bridge: "bench0", address: driver, subnet: subnet}

// What gets through in the kernel is what the rules allow, for pods, the node and the world.
func TestPacketsGetWhereTheRulesAllow(t *testing.T) {
	l := newLab(t, newGenerator(0).world().endpoints())
	allowed, refused := 0, 0
	for seed := range uint64(trafficWorlds) {
		w := newGenerator(seed).world()
		rules, err := compile(w.policies, w.pods, w.namespaces)
		if err != nil {
			t.Fatal(err)
		}
		l.node.run(t, nftables(rules, bench), "nft", "-f", "-")
		a, r := l.check(t, fmt.Sprintf("world %d", seed), probes(w.endpoints()), func(p *probe) bool {
			return rules.allows(p.from, p.to, p.protocol, p.port)
		})
		allowed, refused = allowed+a, refused+r
	}
	t.Logf("%d got through, %d did not", allowed, refused)
	if allowed == 0 || refused == 0 {
		t.Error("the worlds are one-sided")
	}
}

// A pod whose address is not known yet waits, but only where there is any policy.
func TestAnUnknownPodWaits(t *testing.T) {
	w := newGenerator(0).world()
	all := w.endpoints()
	unknown := all[len(all)-1]
	l := newLab(t, all)
	policies := w.policies
	for _, anyPolicy := range []bool{false, true} {
		w.policies = nil
		if anyPolicy {
			w.policies = policies[:1]
			w.policies[0].Spec.PodSelector.MatchLabels = map[string]string{"no": "pod"}
		}
		rules, err := compile(w.policies, w.pods[:len(w.pods)-1], w.namespaces)
		if err != nil {
			t.Fatal(err)
		}
		l.node.run(t, nftables(rules, bench), "nft", "-f", "-")
		l.check(t, fmt.Sprintf("any policy: %v", anyPolicy), probes(all), func(p *probe) bool {
			return !anyPolicy || p.from != unknown.address && p.to != unknown.address
		})
	}
}

// The asking side's packets are looked at every time, so a connection ends with its permission.
func TestAConnectionEndsWithItsPermission(t *testing.T) {
	w := newGenerator(0).world()
	all := w.endpoints()
	l := newLab(t, all)
	from, to := all[2].address, all[5].address
	w.policies = nil
	open, err := compile(nil, w.pods, w.namespaces)
	if err != nil {
		t.Fatal(err)
	}
	l.node.run(t, nftables(open, bench), "nft", "-f", "-")
	p := &probe{from: from, to: to, socket: socket{corev1.ProtocolTCP, 80}}
	l.start(t, p)
	defer unix.Close(p.fd)
	for deadline := time.Now().Add(patience); !l.arrived(p); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no connection without a policy")
		}
	}
	acknowledged := func() bool {
		if _, err := unix.Write(p.fd, []byte("x")); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			info, err := unix.GetsockoptTCPInfo(p.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil {
				t.Fatal(err)
			}
			if info.Unacked == 0 {
				return true
			}
			time.Sleep(10 * time.Millisecond)
		}
		return false
	}
	if !acknowledged() {
		t.Fatal("the connection does not work")
	}
	closed := &ruleset{anyPolicy: true, pods: open.pods, egress: map[netip.Addr][]rule{from: nil}}
	l.node.run(t, nftables(closed, bench), "nft", "-f", "-")
	if acknowledged() {
		t.Error("it goes on without permission")
	}
}
