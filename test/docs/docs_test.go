// Package docs holds what the documentation says against the code: examples
// that no longer fit, schemas that lack a field, and links that lead nowhere.
package docs

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// example returns the first block of JSON below a heading of docs/api.md.
func example(t *testing.T, heading string) []byte {
	t.Helper()
	_, rest, found := strings.Cut(read(t, "docs/api.md"), heading+"\n")
	_, rest, opened := strings.Cut(rest, "```json\n")
	block, _, closed := strings.Cut(rest, "```")
	if !found || !opened || !closed {
		t.Fatalf("docs/api.md has no JSON below %q", heading)
	}
	return []byte(block)
}

func TestExamplesFitTheCode(t *testing.T) {
	t.Parallel()
	e, err := envelope.Decode(example(t, "## The envelope"))
	if err != nil {
		t.Fatalf("the envelope of docs/api.md: %v", err)
	}
	if err := e.Check(); err != nil {
		t.Errorf("the envelope of docs/api.md: %v", err)
	}
	for heading, into := range map[string]any{
		"### POST /v1/messages": &ingest.Answer{}, "### Errors": &ingest.Problem{},
		"### Events": &envelope.Event{}, "### Inbound": &dlr.Inbound{},
	} {
		d := json.NewDecoder(bytes.NewReader(example(t, heading)))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			t.Errorf("docs/api.md, %s: %v", heading, err)
		}
	}
	_, others, _ := strings.Cut(read(t, "docs/api.md"), "A message:\n")
	_, others, _ = strings.Cut(others, "```json\n")
	d := json.NewDecoder(strings.NewReader(others))
	d.DisallowUnknownFields()
	if err := d.Decode(&status.Message{}); err != nil {
		t.Errorf("docs/api.md, a message: %v", err)
	}
}

// schema is what of a JSON Schema is compared with a Go type.
type schema struct {
	Ref        string            `json:"$ref"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Defs       map[string]schema `json:"$defs"`
}

func TestSchemasNameEveryField(t *testing.T) {
	t.Parallel()
	for name, typ := range map[string]reflect.Type{
		"envelope": reflect.TypeFor[envelope.Envelope](), "event": reflect.TypeFor[envelope.Event](), "inbound": reflect.TypeFor[dlr.Inbound](),
	} {
		var s schema
		if err := json.Unmarshal([]byte(read(t, "docs/schemas/"+name+".json")), &s); err != nil {
			t.Fatal(err)
		}
		compare(t, name, s, s.Defs, typ)
	}
}

func compare(t *testing.T, at string, s schema, defs map[string]schema, typ reflect.Type) {
	for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if s.Items != nil {
		s = *s.Items
	}
	if s.Ref != "" {
		s = defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() {
		return
	}
	var want, got []string
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		want = append(want, name)
		compare(t, at+"."+name, s.Properties[name], defs, typ.Field(i).Type)
	}
	for name := range s.Properties {
		got = append(got, name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("docs/schemas, %s: fields of the type (-) and of the schema (+):\n%s", at, d)
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)\s]*))?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	unsaid  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`) // what a heading's anchor leaves out
)

// anchors are the places of a document that a link can name.
func anchors(doc []byte) map[string]bool {
	out := map[string]bool{"": true}
	for _, m := range heading.FindAllSubmatch(doc, -1) {
		out[strings.ReplaceAll(unsaid.ReplaceAllString(strings.ToLower(string(m[1])), ""), " ", "-")] = true
	}
	return out
}

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	found := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".md") {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			found++
			to := path
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(path), m[1])
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
				continue
			}
			if m[2] == "" {
				continue
			}
			if target, err := os.ReadFile(to); err != nil || !anchors(target)[m[2]] {
				t.Errorf("%s links to %s#%s: no such heading", path, m[1], m[2])
			}
		}
		return err
	})
	if err != nil || found == 0 {
		t.Errorf("%d links, %v", found, err)
	}
}

func TestEveryDecisionIsListed(t *testing.T) {
	t.Parallel()
	index := read(t, "docs/adr/README.md")
	files, err := filepath.Glob(filepath.Join(root, "docs/adr/[0-9]*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d decisions, %v", len(files), err)
	}
	for _, f := range files {
		if !strings.Contains(index, "("+filepath.Base(f)+")") {
			t.Errorf("docs/adr/README.md does not list %s", filepath.Base(f))
		}
	}
}
