package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// control serves the routes below /_sim/.
func (s *Simulator) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sim/faults", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.faults.list()) })
	mux.HandleFunc("POST /_sim/faults", s.postFaults)
	mux.HandleFunc("GET /_sim/ledger", s.getLedger)
	mux.HandleFunc("GET /_sim/summary", s.getSummary)
	mux.HandleFunc("POST /_sim/inbound", s.inbound.serve)
	mux.HandleFunc("POST /_sim/bulksmsrates/{what}", s.gateways[BulkSMSRates].(*bulkSMSRates).control)
	mux.HandleFunc("POST /_sim/reset", func(w http.ResponseWriter, _ *http.Request) {
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func writeProblem(w http.ResponseWriter, err error) {
	writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
}

// postFaults takes one fault or an array of them, in place of all there were.
func (s *Simulator) postFaults(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		writeProblem(w, err)
		return
	}
	var faults []Fault
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		faults = make([]Fault, 1)
		err = strictJSON(body, &faults[0])
	} else {
		err = strictJSON(body, &faults)
	}
	if err == nil {
		err = s.SetFaults(faults...)
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.faults.list())
}

// readControl reads a control route's body.
func readControl(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return err
	}
	return strictJSON(body, v)
}

func typeOf(r *http.Request) (string, error) {
	typ := r.URL.Query().Get("type")
	if typ != "" && !slices.Contains(Types(), typ) {
		return "", fmt.Errorf("unknown type %q", typ)
	}
	return typ, nil
}

func (s *Simulator) getLedger(w http.ResponseWriter, r *http.Request) {
	typ, err := typeOf(r)
	if err != nil {
		writeProblem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	for e := range s.ledger.Each(typ) {
		if enc.Encode(e) != nil {
			return
		}
	}
}

// getSummary answers one Summary with ?type=, else one for each type.
func (s *Simulator) getSummary(w http.ResponseWriter, r *http.Request) {
	typ, err := typeOf(r)
	if err != nil {
		writeProblem(w, err)
		return
	}
	if typ != "" {
		writeJSON(w, http.StatusOK, s.ledger.Summary(typ))
		return
	}
	all := map[string]Summary{}
	for _, t := range Types() {
		all[t] = s.ledger.Summary(t)
	}
	writeJSON(w, http.StatusOK, all)
}
