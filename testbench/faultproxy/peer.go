package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// peerOf finds the process at the other end of a connection of this host: its socket's inode by the two ports
// (/proc/net/tcp, proc_pid_net(5)), then who has that socket open. 0 when it is gone.
func peerOf(connection net.Conn) int {
	own, ok := connection.LocalAddr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	peer, ok := connection.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	// A JVM's sockets are IPv6 ones, whatever they are connected to.
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && portOf(fields[1]) == peer.Port && portOf(fields[2]) == own.Port {
				return holderOf("socket:[" + fields[9] + "]")
			}
		}
	}
	return 0
}

func portOf(address string) int {
	_, port, _ := strings.Cut(address, ":")
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return -1
	}
	return int(number)
}

func holderOf(socket string) int {
	paths, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, path := range paths {
		if target, err := os.Readlink(path); err == nil && target == socket {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			return pid
		}
	}
	return 0
}

// parentOf is the parent of a process, 0 when there is none.
func parentOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if parent, found := strings.CutPrefix(line, "PPid:"); found {
			number, _ := strconv.Atoi(strings.TrimSpace(parent))
			return number
		}
	}
	return 0
}

// stateOf is the letter of a process's state, empty when it is gone.
func stateOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// After the name, which may hold anything (proc_pid_stat(5)).
	rest := string(text)[strings.LastIndex(string(text), ")")+1:]
	return strings.Fields(rest)[0]
}
