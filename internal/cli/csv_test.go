package cli

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// bigCSV has rows 2 to n+1; every refuse-th number is one that the API refuses.
func bigCSV(n, refuse int) string {
	var b strings.Builder
	b.WriteString("Name,secret,phone,city\r\n")
	for i := range n {
		num := fmt.Sprintf("+2547%08d", i*10+1)
		if refuse > 0 && i%refuse == refuse-1 {
			num = "+254712345000"
		}
		fmt.Fprintf(&b, "\"N, %d\",s%d,%s,Mombasa\r\n", i, i, num)
	}
	return b.String()
}

func TestSendCSV(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]answer{"POST /v1/messages": accept})
	path := file(t, "people.csv", bigCSV(2500, 1250))
	r := run(t, Deps{}, "send", "--url", a.URL, "--csv", path, "--from", "ACME", "--text", "Hi {{Name}} of {{ city }}", "--idempotency-key", "job")
	if r.code != 1 || !strings.HasPrefix(r.out, "accepted 2498, refused 2, in 3 envelopes\n") {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(r.errOut, "refused line 1251, +254712345000") || !strings.Contains(r.errOut, "refused line 2501, +254712345000") {
		t.Errorf("lines of refused rows: %q", r.errOut)
	}
	reqs := a.got()
	if len(reqs) != 3 {
		t.Fatalf("%d requests for 2,500 rows", len(reqs))
	}
	total := 0
	for i, req := range reqs {
		if got, want := req.Header.Get("Idempotency-Key"), fmt.Sprintf("job-%d", i+1); got != want {
			t.Errorf("key %q, want %q", got, want)
		}
		e, err := envelope.Decode([]byte(req.Body))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(map[string]string{"Name": fmt.Sprintf("N, %d", total), "city": "Mombasa"}, e.Recipients[0].Variables); d != "" {
			t.Error(d)
		}
		total += len(e.Recipients)
	}
	if total != 2500 {
		t.Errorf("%d rows were sent", total)
	}
	r = run(t, Deps{Stdin: strings.NewReader(bigCSV(3, 0))}, "send", "--url", a.URL, "--csv", "-", "--from", "ACME", "--text", "as typed", "--json")
	got := decode[Answer](t, r.out)
	if r.code != 0 || got.Accepted != 3 || strings.Contains(a.got()[3].Body, "variables") {
		t.Errorf("%+v", r)
	}
}

func TestCSVShapes(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"plain":           "to,name\n+254700000001,Asha\n+254700000002,Bo\n",
		"bom":             "\ufeffto,name\n+254700000001,Asha\n+254700000002,Bo\n",
		"crlf":            "to,name\r\n+254700000001,Asha\r\n+254700000002,Bo\r\n",
		"no last newline": "to,name\n+254700000001,Asha\n+254700000002,Bo",
		"semicolons":      "To;name\n+254700000001;Asha\n+254700000002;Bo\n",
		"tabs":            "PHONE\tname\n+254700000001\tAsha\n+254700000002\tBo\n",
		"blank lines":     "to,name\n\n+254700000001,Asha\n\n+254700000002,Bo\n\n",
		"quoted header":   "\"to\",\"name\"\n\"+254700000001\",\"Asha\"\n +254700000002 ,Bo\n",
		"other columns":   "id, phone ,x,name\n1,+254700000001,,Asha\n2,+254700000002,\"a\nb\",Bo\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]answer{"POST /v1/messages": accept})
			r := run(t, Deps{}, "send", "--url", a.URL, "--csv", file(t, "f.csv", text), "--from", "A", "--text", "{{name}}")
			if r.code != 0 {
				t.Fatalf("%+v", r)
			}
			e, err := envelope.Decode([]byte(a.got()[0].Body))
			if err != nil {
				t.Fatal(err)
			}
			want := []envelope.Recipient{
				{To: "+254700000001", Variables: map[string]string{"name": "Asha"}}, {To: "+254700000002", Variables: map[string]string{"name": "Bo"}},
			}
			if d := cmp.Diff(want, e.Recipients); d != "" {
				t.Error(d)
			}
		})
	}
}

// A mistake anywhere in a file is told with its line, and nothing is sent.
func TestCSVMistakesSendNothing(t *testing.T) {
	t.Parallel()
	var good strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&good, "+2547%08d,N\n", i)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"empty":          {"", "is empty"},
		"header only":    {"to,name\n", "no row below its header"},
		"no number":      {"number,name\n1,2\n", "no column to or phone; it has number, name"},
		"no variable":    {"to,nam\n1,2\n", "the text uses {{name}}, and"},
		"two columns":    {"to,name,name\n1,2,3\n", `two columns "name"`},
		"unclosed quote": {"to,name\n" + good.String() + "+254700000001,\"Asha\n+254700000002,Bo\n", "line 1502: a quote that opens here is not closed"},
		"quote inside":   {"to,name\n+254700000001,\"As\"ha\n", "line 2: a quote is not closed"},
		"bare quote":     {"to,name\n+254700000001,As\"ha\n", "line 2: a quote within a field"},
		"short row":      {"to,name\n" + good.String() + "+254700000001\n", "line 1502: the number of columns is not the header's 2"},
		"CR only":        {"to,name\r+254700000001,Asha\r", "line 1: its lines end in carriage returns alone"},
		"long row":       {"to,name\n" + good.String() + "+254700000001," + strings.Repeat("x", 5<<20) + "\n", "a row is longer than 4 MiB"},
		"long header":    {strings.Repeat("x", 5<<20), "a row is longer than 4 MiB"},
		"endless quote":  {"to,name\n+254700000001,\"" + strings.Repeat("Asha\n", 1<<20), "a row is longer than 4 MiB"},
		"latin-1":        {"to,name\n+254700000001,Jos\xe9\n", "line 2: not UTF-8"},
		"utf-16":         {"\xff\xfet\x00o\x00\n\x00", "line 1: not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]answer{"POST /v1/messages": accept})
			r := run(t, Deps{}, "send", "--url", a.URL, "--csv", file(t, "f.csv", tt.text), "--from", "A", "--text", "{{name}}")
			if r.code != 2 || !strings.Contains(r.errOut, tt.want) || strings.Count(r.errOut, "\n") != 1 {
				t.Errorf("%+v", r)
			}
			if len(a.got()) != 0 {
				t.Error("something was sent")
			}
		})
	}
}

// A connection that breaks within a file is made again; the rest is sent.
func TestSendCSVSurvivesARestart(t *testing.T) {
	t.Parallel()
	flaky := func(n int, r request, w http.ResponseWriter) {
		if n == 2 || n == 3 {
			panic(http.ErrAbortHandler)
		}
		accept(n, r, w)
	}
	a := newAPI(t, map[string]answer{"POST /v1/messages": flaky})
	r := run(t, Deps{}, "send", "--url", a.URL, "--csv", file(t, "f.csv", bigCSV(2000, 0)), "--from", "A", "--text", "x", "--idempotency-key", "j")
	if r.code != 0 || !strings.HasPrefix(r.out, "accepted 2000, refused 0, in 2 envelopes") {
		t.Errorf("%+v", r)
	}
}

func TestSpoolLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	f, err := spool(strings.NewReader("to\n1\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}
