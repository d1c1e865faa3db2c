package ingest

import (
	"mime"
	"net/http"
	"strings"
)

// Limits of bodies. Those of headers and idle connections are the server's.
const (
	maxBody = 16 << 20 // a JSON body; ten thousand recipients with variables take three
	maxLine = 4 << 20  // one line of NDJSON
)

// handler is an http.HandlerFunc that leaves telling of errors to its caller.
type handler func(w http.ResponseWriter, r *http.Request) error

// endpoint is one route of the API; openapi.json describes each of them.
type endpoint struct {
	pattern string
	serve   handler
}

// endpoints lists the API.
func (in *Ingest) endpoints() []endpoint {
	return []endpoint{
		{"POST /v1/messages", in.withTenant(in.postMessages)},
		{"GET /v1/messages/{id}", in.withTenant(in.getMessage)},
		{"DELETE /v1/messages/{id}", in.withTenant(in.deleteMessage)},
		{"GET /v1/envelopes/{id}", in.withTenant(in.getEnvelope)},
		{"GET /v1/envelopes/{id}/messages", in.withTenant(in.getEnvelopeMessages)},
		{"DELETE /v1/envelopes/{id}", in.withTenant(in.deleteEnvelope)},
		{"GET /v1/events", in.withTenant(in.getEvents)},
		{"GET /v1/providers", in.withTenant(in.getProviders)},
		{"POST /v1/providers/{name}/pause", in.withOperator(in.postPause)},
		{"POST /v1/providers/{name}/resume", in.withOperator(in.postResume)},
		{"GET /v1/providers/{name}/operations", in.withOperator(in.getOperations)},
		{"POST /v1/providers/{name}/operations/{operation}", in.withOperator(in.postOperation)},
		{"POST /v1/opt-outs", in.withOperator(in.postOptOut)},
		{"GET /v1/dead", in.withOperator(in.getDeadLetters)},
		{"GET /v1/dead/{id}", in.withOperator(in.getDeadLetter)},
		{"POST /v1/dead/{id}/replay", in.withOperator(in.postReplay)},
		{"DELETE /v1/dead/{id}", in.withOperator(in.deleteDeadLetter)},
		{"GET /openapi.json", getOpenAPI},
	}
}

// Patterns lists the API's routes, as method and path.
func (in *Ingest) Patterns() []string {
	var list []string
	for _, e := range in.endpoints() {
		list = append(list, e.pattern)
	}
	return list
}

// Handler returns the HTTP API. Its server must bound headers; bodies have
// deadlines of their own here, and event streams end when the server is told to
// stop (service.Stopping).
func (in *Ingest) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, e := range in.endpoints() {
		mux.HandleFunc(e.pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := e.serve(w, r); err != nil {
				in.fail(w, r, err)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { in.fail(w, r, unrouted(mux, r)) })
	return mux
}

// unrouted tells a wrong method from a wrong path.
func unrouted(mux *http.ServeMux, r *http.Request) *Problem {
	var possible []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "/" {
			possible = append(possible, method)
		}
	}
	if possible == nil {
		return problem(http.StatusNotFound, codeNotFound, "there is no such resource")
	}
	p := problem(http.StatusMethodNotAllowed, codeMethod, r.Method+" is not possible here")
	p.allow = strings.Join(possible, ", ")
	return p
}

// mediaType returns the body's type, or an error for one that is not taken.
// Compressed bodies are not: a few bytes could claim gigabytes.
func mediaType(r *http.Request) (string, error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return "", problem(http.StatusUnsupportedMediaType, codeMediaType, "Content-Encoding is not supported")
	}
	given := r.Header.Get("Content-Type")
	if given == typeJSON || given == typeNDJSON {
		return given, nil
	}
	typ, params, err := mime.ParseMediaType(given)
	charset := params["charset"]
	if err != nil || typ != typeJSON && typ != typeNDJSON || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", problem(http.StatusUnsupportedMediaType, codeMediaType, "send application/json or application/x-ndjson, in UTF-8")
	}
	return typ, nil
}

// Media types of bodies and answers.
const (
	typeJSON   = "application/json"
	typeNDJSON = "application/x-ndjson"
)

// accepts reports whether the client asks for a media type by name.
func accepts(r *http.Request, typ string) bool {
	for _, header := range r.Header.Values("Accept") {
		for _, part := range strings.Split(header, ",") {
			if got, _, err := mime.ParseMediaType(part); err == nil && got == typ {
				return true
			}
		}
	}
	return false
}
