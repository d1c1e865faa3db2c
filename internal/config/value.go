package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Lookup reads one environment variable; os.LookupEnv in programs.
type Lookup func(name string) (value string, ok bool)

// Text is a setting that may refer to its value instead of holding it: ${NAME},
// also inside a longer text, reads the environment, and file:/path the whole of
// a mounted file without its last line break. The reference is followed by
// Resolve, so that only a program that uses the setting needs it to exist.
// The zero Text is empty. A Text is immutable and safe for concurrent use.
type Text struct{ r *ref }

// Secret is a Text that never shows its value: not to fmt, log/slog,
// encoding/json or YAML. Only Resolve returns it.
type Secret struct{ r *ref }

// URL is a Text that hides the user and password when it is shown.
type URL struct{ r *ref }

// ref is kept behind a pointer so that even a %+v of a struct with unexported
// fields prints an address.
type ref struct {
	raw  string
	key  string // e.g. providers.cloudrebue-ke.credentials.token
	file string // the config file, for errors
	env  Lookup
}

// NewText returns a Text that holds value as it is; nothing in it is a reference.
func NewText(value string) Text { return Text{literal(value)} }

// NewSecret returns a Secret that holds value as it is.
func NewSecret(value string) Secret { return Secret{literal(value)} }

// NewURL returns a URL that holds value as it is.
func NewURL(value string) URL { return URL{literal(value)} }

func literal(value string) *ref { return &ref{raw: value} }

// Resolve returns the value. Its error is an *Error that names the key and the
// variable or file, never the value.
func (t Text) Resolve() (string, error) { return t.r.resolve() }

// Resolve returns the value, as Text.Resolve does. A reference to something
// empty is an error: an empty secret would pass for a right one.
func (s Secret) Resolve() (string, error) {
	v, err := s.r.resolve()
	if err == nil && v == "" && !s.IsZero() {
		return "", s.r.fail("%s is empty", s.r.raw)
	}
	return v, err
}

// Resolve returns the value, as Text.Resolve does.
func (u URL) Resolve() (string, error) { return u.r.resolve() }

// IsZero reports whether nothing was set.
func (t Text) IsZero() bool { return t.r == nil || t.r.raw == "" }

// IsZero reports whether nothing was set.
func (s Secret) IsZero() bool { return s.r == nil || s.r.raw == "" }

// IsZero reports whether nothing was set.
func (u URL) IsZero() bool { return u.r == nil || u.r.raw == "" }

// Embedded reports whether the URL is the word that asks for an in-process server.
func (u URL) Embedded() bool { return u.r != nil && u.r.raw == "embedded" }

// String returns the setting as written, reference and all.
func (t Text) String() string {
	if t.r == nil {
		return ""
	}
	return t.r.raw
}

const hidden = "(secret)"

// Inline reports whether the value itself stands in the config's file.
func (s Secret) Inline() bool { return s.String() == hidden }

// String returns the reference as written, and a placeholder for a secret that
// stands in the file itself.
func (s Secret) String() string {
	switch {
	case s.IsZero():
		return ""
	case s.r.env != nil && wholeReference.MatchString(s.r.raw):
		return s.r.raw
	}
	return hidden
}

var (
	wholeReference = regexp.MustCompile(`^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|file:/.*)$`)
	anyReference   = regexp.MustCompile(`\$\{([^}]*)\}`)
	userinfo       = regexp.MustCompile(`://[^,]*@`)
)

// String returns the URL without user and password.
func (u URL) String() string {
	if u.r == nil {
		return ""
	}
	if !strings.Contains(u.r.raw, "://") && !wholeReference.MatchString(u.r.raw) && u.r.raw != "embedded" {
		return hidden // not a URL as far as we can see: it may hold anything
	}
	return userinfo.ReplaceAllString(u.r.raw, "://***@")
}

// GoString, MarshalText (JSON), MarshalYAML and LogValue show what String shows.

// GoString keeps %#v from showing the value.
func (s Secret) GoString() string { return s.String() }

// MarshalText makes JSON show what String shows.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML makes YAML show what String shows.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue makes log/slog show what String shows.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// GoString keeps %#v from showing the password.
func (u URL) GoString() string { return u.String() }

// MarshalText makes JSON show what String shows.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// MarshalYAML makes YAML show what String shows.
func (u URL) MarshalYAML() (any, error) { return u.String(), nil }

// LogValue makes log/slog show what String shows.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText makes JSON show the setting as written.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalYAML makes YAML show the setting as written.
func (t Text) MarshalYAML() (any, error) { return t.String(), nil }

// UnmarshalYAML takes the scalar as written.
func (t *Text) UnmarshalYAML(n ast.Node) (err error) { t.r, err = scalar(n); return err }

// UnmarshalYAML takes the scalar as written.
func (s *Secret) UnmarshalYAML(n ast.Node) (err error) { s.r, err = scalar(n); return err }

// UnmarshalYAML takes the scalar as written.
func (u *URL) UnmarshalYAML(n ast.Node) (err error) { u.r, err = scalar(n); return err }

func scalar(n ast.Node) (*ref, error) {
	switch v := n.(type) {
	case *ast.StringNode:
		return &ref{raw: v.Value}, nil
	case *ast.LiteralNode:
		return &ref{raw: v.Value.Value}, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode: // a password of digits; as typed, 007 stays 007
		return &ref{raw: n.GetToken().Value}, nil
	case *ast.NullNode:
		return nil, nil
	}
	return nil, keyError(n, "must be a text")
}

// literal reports whether the value is known without following a reference.
func (r *ref) literal() bool {
	return r == nil || r.env == nil || (!strings.Contains(r.raw, "${") && !strings.HasPrefix(r.raw, "file:/"))
}

// bind gives a setting what it needs to be resolved, and refuses a reference
// that can never be.
func (r *ref) bind(key, file string, env Lookup) error {
	if r == nil {
		return nil
	}
	r.key, r.file, r.env = key, file, env
	for _, m := range anyReference.FindAllStringSubmatch(r.raw, -1) {
		if !wholeReference.MatchString(m[0]) {
			return r.fail("a reference is written ${NAME}, with letters, digits and underscores")
		}
	}
	return nil
}

func (r *ref) resolve() (string, error) {
	if r.literal() {
		if r == nil {
			return "", nil
		}
		return r.raw, nil
	}
	if strings.HasPrefix(r.raw, "file:/") {
		return r.read(strings.TrimPrefix(r.raw, "file:"))
	}
	var missing string
	out := anyReference.ReplaceAllStringFunc(r.raw, func(m string) string {
		name := m[2 : len(m)-1]
		v, ok := r.env(name)
		if !ok && missing == "" {
			missing = name
		}
		return v
	})
	if missing != "" {
		return "", r.fail("environment variable %s is not set", missing)
	}
	return out, nil
}

const maxSecretFile = 64 << 10 // a credentials file or a key is a few kB; more is a wrong path

func (r *ref) read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", r.fail("%v", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", r.fail("%v", err)
	}
	if len(b) > maxSecretFile {
		return "", r.fail("file %s is larger than %d bytes", path, maxSecretFile)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}

func (r *ref) fail(format string, args ...any) error {
	return &Error{File: r.file, Key: r.key, Reason: fmt.Sprintf(format, args...)}
}

// Error is one thing wrong with a config, told in one line.
type Error struct {
	File   string
	Line   int    // 0: not known
	Key    string // path of the key, e.g. providers.cloudrebue-ke.rate; may be empty
	Reason string
}

// Error returns file:line: key: reason.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d", e.Line)
		}
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(strings.ReplaceAll(e.Reason, "\n", " "))
	return b.String()
}

// asError returns the *Error in err, if there is one.
func asError(err error) (*Error, bool) { return errors.AsType[*Error](err) }
