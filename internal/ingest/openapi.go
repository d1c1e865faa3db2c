package ingest

import (
	_ "embed" // for the description below
	"net/http"
)

// openAPI describes the API. It is written by hand; a test holds it against the
// routes.
//
//go:embed openapi.json
var openAPI []byte

func getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", typeJSON)
	_, _ = w.Write(openAPI) // a client that is gone cannot be told
	return nil
}
