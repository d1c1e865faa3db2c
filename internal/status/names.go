package status

import (
	"math"
	"strings"
	"sync"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// names gives tenants, accounts and origin streams small numbers: there are few
// of them and each is named by millions of messages. 0 is no name.
type names struct {
	mu      sync.RWMutex
	byName  map[string]uint16
	list    []string
	origins []envelope.Origin // with Seq 0
}

func (n *names) index(name string) uint16 {
	if name == "" {
		return 0
	}
	n.mu.RLock()
	i, ok := n.byName[name]
	n.mu.RUnlock()
	if ok {
		return i
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if i, ok := n.byName[name]; ok {
		return i
	}
	if n.byName == nil {
		n.byName, n.list = map[string]uint16{}, []string{""}
	}
	if len(n.list) > math.MaxUint16 {
		return 0
	}
	name = strings.Clone(name)
	n.list = append(n.list, name)
	n.byName[name] = uint16(len(n.list) - 1)
	return n.byName[name]
}

func (n *names) name(i uint16) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if int(i) >= len(n.list) {
		return ""
	}
	return n.list[i]
}

func (n *names) originIndex(o envelope.Origin) uint16 {
	o.Seq = 0
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, known := range n.origins {
		if known == o {
			return uint16(i)
		}
	}
	if len(n.origins) > math.MaxUint16 {
		return 0
	}
	o.Stream = strings.Clone(o.Stream)
	n.origins = append(n.origins, o)
	return uint16(len(n.origins) - 1)
}

func (n *names) originAt(i uint16, seq uint64) envelope.Origin {
	n.mu.RLock()
	defer n.mu.RUnlock()
	o := n.origins[i]
	o.Seq = seq
	return o
}
