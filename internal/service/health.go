package service

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
)

// Health collects what a program needs and wants. It is safe for concurrent use.
type Health struct {
	mu       sync.Mutex
	checks   []*check // in the order of their addition
	stopping bool
}

type check struct {
	name     string
	required bool
	ask      func() (reason string) // nil: reason holds
	reason   string                 // empty: well
}

// Setter tells Health how one thing is: an empty reason means well.
type Setter func(reason string)

// Require adds something without which the program is not ready. It is waited
// for from now on, until the Setter says otherwise.
func (h *Health) Require(name string) Setter {
	return h.add(&check{name: name, required: true, reason: "not yet"})
}

// Prefer adds something without which the program works, but worse.
func (h *Health) Prefer(name string) Setter {
	return h.add(&check{name: name, reason: "not yet"})
}

// RequireFunc is Require of something that is asked at each look; ask returns
// an empty reason when all is well, and must not block.
func (h *Health) RequireFunc(name string, ask func() (reason string)) {
	h.add(&check{name: name, required: true, ask: ask})
}

// PreferFunc is Prefer of something that is asked at each look.
func (h *Health) PreferFunc(name string, ask func() (reason string)) {
	h.add(&check{name: name, ask: ask})
}

// Stop makes the program not ready for good, so that no new work is sent to it
// while it drains.
func (h *Health) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

func (h *Health) add(c *check) Setter {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, c)
	return func(reason string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		c.reason = reason
	}
}

// State is what /readyz answers.
type State struct {
	Waiting  []string          `json:"waiting,omitempty"` // what is required and missing
	Degraded []string          `json:"degraded"`          // what is wanted and missing
	Reasons  map[string]string `json:"reasons,omitempty"` // of both
}

// Ready reports whether nothing required is missing.
func (s State) Ready() bool { return len(s.Waiting) == 0 }

// State asks every check.
func (h *Health) State() State {
	h.mu.Lock()
	checks := slices.Clone(h.checks)
	reasons := make([]string, len(checks))
	for i, c := range checks {
		reasons[i] = c.reason
	}
	s := State{Degraded: []string{}, Reasons: map[string]string{}}
	if h.stopping {
		s.Waiting, s.Reasons["stopping"] = []string{"stopping"}, "the program drains"
	}
	h.mu.Unlock() // a check that is asked may itself report to Health
	for i, c := range checks {
		reason := reasons[i]
		if c.ask != nil {
			reason = c.ask()
		}
		if reason == "" {
			continue
		}
		s.Reasons[c.name] = reason
		if c.required {
			s.Waiting = append(s.Waiting, c.name)
		} else {
			s.Degraded = append(s.Degraded, c.name)
		}
	}
	return s
}

// Handler answers /healthz (the process lives), /readyz (503 while something
// required is missing, 200 with what is degraded) and /metrics.
func (h *Health) Handler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s := h.State()
		w.Header().Set("Content-Type", "application/json")
		if !s.Ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(s) // a prober that went away asks again
	})
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return mux
}
