package rig

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Node is one of our programs, with its own address for health and metrics.
type Node struct {
	*Process
	Admin string

	c      *Cluster
	config string
}

// Launch starts one of our programs with the cluster's config.
func (c *Cluster) Launch(name string, env ...string) *Node {
	c.T.Helper()
	return c.LaunchWith(name, c.Config, env...)
}

// LaunchWith starts one of our programs with a config of its own.
func (c *Cluster) LaunchWith(name, config string, env ...string) *Node {
	c.T.Helper()
	return c.node(name, config, c.Rig.Addr(c.T), env)
}

// Again starts a program that has ended anew, under the same addresses.
func (c *Cluster) Again(n *Node, env ...string) *Node {
	c.T.Helper()
	return c.node(n.Name, n.config, n.Admin, env)
}

func (c *Cluster) node(name, config, admin string, env []string) *Node {
	c.T.Helper()
	return &Node{c: c, Admin: admin, config: config, Process: Start(c.T, Command{
		Name: name, Path: c.Rig.Program(name), Dir: c.Dir, Env: env, Args: []string{"--config", config, "--admin", admin},
	})}
}

// Health is what /readyz answers.
type Health struct {
	Waiting  []string
	Degraded []string
	Reasons  map[string]string
}

// Readyz returns the status code, 0 while nobody answers.
func (n *Node) Readyz() (int, Health) {
	var h Health
	resp, err := n.c.Client.Get("http://" + n.Admin + "/readyz")
	if err != nil {
		return 0, h
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		return 0, h // it ended in the middle of it
	}
	return resp.StatusCode, h
}

// Ready waits until programs are ready.
func (c *Cluster) Ready(nodes ...*Node) {
	c.T.Helper()
	for _, n := range nodes {
		Eventually(c.T, time.Minute, n.Name+" ready", func() (bool, string) {
			if !n.Alive() {
				c.T.Fatalf("%s has ended\n%s", n.Name, Tail(n.Log, 20))
			}
			code, h := n.Readyz()
			return code == http.StatusOK, fmt.Sprintf("%d %+v", code, h)
		})
	}
}

// Metric reads the samples of /metrics that have all the labels, and adds them up;
// 0 without one.
func (n *Node) Metric(name string, labels ...string) float64 {
	n.t.Helper()
	resp, err := n.c.Client.Get("http://" + n.Admin + "/metrics")
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		n.t.Fatalf("%s: /metrics: %s", n.Name, resp.Status)
	}
	sum := 0.0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		line := lines.Text()
		if !strings.HasPrefix(line, name+"{") && !strings.HasPrefix(line, name+" ") {
			continue
		}
		all := true
		for _, l := range labels {
			all = all && strings.Contains(line, l)
		}
		if v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64); all && err == nil {
			sum += v
		}
	}
	return sum
}
