package ingest

import (
	"net/http"
	"slices"

	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// ProviderView is an account as GET /v1/providers tells of it.
type ProviderView struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Up     bool   `json:"up"`
	Paused bool   `json:"paused"`

	Abilities []string `json:"abilities,omitempty"`

	*ProviderDetail // operators only
}

func (in *Ingest) getProviders(w http.ResponseWriter, r *http.Request) error {
	t := tenant(r.Context())
	list := []ProviderView{}
	for _, name := range in.names {
		if !t.Operator && len(t.Accounts) > 0 && !slices.Contains(t.Accounts, name) {
			continue
		}
		v := ProviderView{Name: name, Type: in.accounts[name].Type, Paused: in.journal.Paused(name), Abilities: in.accounts[name].Abilities}
		v.Up = !v.Paused && !in.down(name)
		if in.operate != nil {
			d := in.operate.Provider(r.Context(), name)
			v.Up = v.Up && d.Breaker != "open"
			if t.Operator {
				v.ProviderDetail = &d
			}
		}
		list = append(list, v)
	}
	writeJSON(w, http.StatusOK, typeJSON, struct {
		Providers []ProviderView `json:"providers"`
	}{list})
	return nil
}

func (in *Ingest) postPause(w http.ResponseWriter, r *http.Request) error {
	return in.setPaused(w, r, true)
}

func (in *Ingest) postResume(w http.ResponseWriter, r *http.Request) error {
	return in.setPaused(w, r, false)
}

// setPaused holds or frees an account across the cluster: the record's place in
// the journal is when it starts to hold, for every dispatcher alike.
func (in *Ingest) setPaused(w http.ResponseWriter, r *http.Request, paused bool) error {
	name := r.PathValue("name")
	if in.accounts[name] == nil {
		return problem(http.StatusNotFound, codeNotFound, "there is no such provider")
	}
	if _, _, err := in.record(r.Context(), idempotency.Record{Kind: idempotency.Mode, Account: name, Paused: paused}); err != nil {
		return err
	}
	in.log.InfoContext(r.Context(), "account mode set", "account", name, "paused", paused, "tenant", tenant(r.Context()).Name)
	writeJSON(w, http.StatusOK, typeJSON, ProviderView{Name: name, Type: in.accounts[name].Type, Up: !paused, Paused: paused, Abilities: in.accounts[name].Abilities})
	return nil
}
