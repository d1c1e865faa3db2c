package simulator

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	bulkTokenLives   = 15 * time.Minute   // "Access token TTL: 15 minutes"
	bulkRefreshLives = 7 * 24 * time.Hour // "Refresh token TTL: 7 days (rotated on use)"
	bulkLogIns       = 5                  // "Account temporarily locked (5 failed logins)"
	bulkLocked       = 15 * time.Minute   // ours: the document names no time
)

// bulkAuth keeps the tokens of a BulkSMSRates account. The shape of its answers is
// ours: the document shows none.
type bulkAuth struct {
	mu      sync.Mutex
	count   uint64
	access  map[string]time.Duration // when each ends, since the simulator's start
	refresh map[string]time.Duration
	failed  int
	shut    time.Duration // until when the account is locked
}

// known reports whether a request may do what it asks: by the key pair, or by a
// token that has not lapsed.
func (a *bulkAuth) known(g *bulkSMSRates, c *call) bool {
	h := c.req.Header
	if token, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer "); ok && h.Get("X-API-Key") == "" {
		a.mu.Lock()
		defer a.mu.Unlock()
		until, issued := a.access[token]
		return issued && c.at < until
	}
	return h.Get("X-API-Key") == g.sim.credential(BulkSMSRates, "api_key") && h.Get("X-API-Secret") == g.sim.credential(BulkSMSRates, "api_secret")
}

// answer serves the parts of /auth that need no one to be known.
func (a *bulkAuth) answer(g *bulkSMSRates, c *call, what string) reply {
	var in struct {
		Email    string `json:"email"`
		Password string `json:"password"`
		Refresh  string `json:"refresh_token"`
	}
	if err := strictJSON(c.body, &in); err != nil {
		return g.invalid(c, fieldOf(err))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch what {
	case "login":
		return a.login(g, c, in.Email, in.Password)
	case "refresh":
		until, issued := a.refresh[in.Refresh]
		delete(a.refresh, in.Refresh) // "rotated on use"
		if !issued || c.at >= until {
			return g.unknown(c)
		}
		return a.issue(g, c)
	case "logout":
		delete(a.refresh, in.Refresh)
		return g.ok(c, map[string]any{"data": map[string]bool{"revoked": true}})
	}
	return g.notFound(c)
}

func (a *bulkAuth) login(g *bulkSMSRates, c *call, email, password string) reply {
	switch {
	case c.at < a.shut:
		return g.errorReply(c, http.StatusTooManyRequests, "ACCOUNT_LOCKED", "Account temporarily locked", nil)
	case email == "" || password == "":
		return g.invalid(c, "email and password are required")
	case email != g.sim.credential(BulkSMSRates, "email") || password != g.sim.credential(BulkSMSRates, "password"):
		if a.failed++; a.failed < bulkLogIns {
			return g.unknown(c)
		}
		a.failed, a.shut = 0, c.at+bulkLocked
		return g.errorReply(c, http.StatusUnauthorized, "ACCOUNT_LOCKED", "Account locked after repeated failed logins", nil)
	}
	a.failed = 0
	return a.issue(g, c)
}

func (a *bulkAuth) issue(g *bulkSMSRates, c *call) reply {
	if a.access == nil {
		a.access, a.refresh = map[string]time.Duration{}, map[string]time.Duration{}
	}
	a.count++
	access, refresh := "eyJ."+uuid("access", g.sim.seed, a.count)+".sim", "rt_"+uuid("refresh", g.sim.seed, a.count)
	a.access[access], a.refresh[refresh] = c.at+bulkTokenLives, c.at+bulkRefreshLives
	return g.ok(c, map[string]any{"data": map[string]any{
		"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": int(bulkTokenLives.Seconds()),
	}})
}

func (g *bulkSMSRates) unknown(c *call) reply {
	return g.errorReply(c, http.StatusUnauthorized, "UNAUTHORIZED", "Missing, invalid, or expired credentials", nil)
}
