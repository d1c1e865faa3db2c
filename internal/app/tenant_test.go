package app

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/internal/config"
)

// What only ingest needs, only ingest looks up: hashes of API keys too may be in
// the environment or in a file.
func TestTenants(t *testing.T) {
	t.Parallel()
	const hash = "2A97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea"
	for name, c := range map[string]struct{ tenant, want string }{
		"from the environment": {"keys_sha256: ['${HASH}']", ""},
		"from a file":          {"keys_sha256: ['file:" + file(t, []byte(hash+"\n")) + "']", ""},
		"not set":              {"keys_sha256: ['${NOT_SET}']", "ingest.tenants[0].keys_sha256[0]: environment variable NOT_SET is not set"},
		"no hash":              {"keys_sha256: ['${WORD}']", "ingest.tenants[0].keys_sha256[0]: must be 64 hexadecimal digits, as tuma key new prints them"},
		"no country":           {"default_region: ZZ", "acme: default_region ZZ is no country's"},
		"a country":            {"default_region: rw", ""},
	} {
		env := func(name string) (string, bool) {
			v, ok := map[string]string{"HASH": hash, "WORD": "secret"}[name]
			return v, ok
		}
		cfg, err := config.Parse("f", []byte("ingest: {tenants: [{name: acme, "+c.tenant+"}]}"), TypeDefaults(), env)
		if err != nil {
			t.Errorf("%s: every program must be able to read the file: %v", name, err)
			continue
		}
		_, err = (&kit{cfg: cfg}).tenant(&cfg.Ingest.Tenants[0])
		if said := fmt.Sprint(err); c.want == "" && err != nil || !strings.HasSuffix(said, c.want) && c.want != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
