package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Load reads the file at path, fills in defaults by type and checks everything
// that can be checked without following a reference. Its error is an *Error.
func Load(path string, types map[string]TypeDefaults, env Lookup) (*Config, error) {
	data, err := read(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, &Error{File: path, Reason: err.Error()}
	}
	return Parse(path, data, types, env)
}

// maxFile bounds the config: ten thousand accounts take two of these MiB.
const maxFile = 8 << 20

// read reads a file that may turn out to have no end.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errors.New("is larger than 8 MiB")
	}
	return data, err
}

// Parse is Load of data that was read from file, which only errors name.
func Parse(file string, data []byte, types map[string]TypeDefaults, env Lookup) (*Config, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	c := &Config{}
	where := source{}
	if err := c.decode(data, where); err != nil {
		return nil, locate(err, file, where)
	}
	c.File = file // set here and not before: an empty document clears what it is decoded into
	if err := c.bind(env); err != nil {
		return nil, locate(err, file, where)
	}
	if _, ok := where["telemetry.sample"]; !ok {
		c.Telemetry.Sample = 1 // set here and not before: 0 means none
	}
	c.fill(types)
	if err := c.check(types); err != nil {
		return nil, locate(err, file, where)
	}
	return c, nil
}

// source remembers the line of every key.
type source map[string]int

func (c *Config) decode(data []byte, where source) error {
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return yamlError(err, nil)
	}
	if len(tree.Docs) > 1 {
		return &Error{Line: tree.Docs[1].Start.Position.Line, Reason: "holds more than one YAML document"}
	}
	keys := &keys{lines: where, byOffset: map[int]string{}}
	for _, d := range tree.Docs {
		if d.Body != nil {
			ast.Walk(keys, d.Body)
		}
	}
	if keys.err != nil {
		return keys.err
	}
	err = yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(c)
	if err != nil && !errors.Is(err, io.EOF) {
		return yamlError(err, keys.byOffset)
	}
	return nil
}

// keys walks the tree for the paths of its keys.
type keys struct {
	lines    source
	byOffset map[int]string
	err      error
}

// Visit implements ast.Visitor.
func (k *keys) Visit(n ast.Node) ast.Visitor {
	path := keyPath(n)
	pos := n.GetToken().Position
	if _, ok := k.lines[path]; !ok {
		k.lines[path] = pos.Line
	}
	if _, ok := k.byOffset[pos.Offset]; !ok {
		k.byOffset[pos.Offset] = path
	}
	// The decoder would cut 1.5 to 1 for an int.
	if n.Type() == ast.FloatType && k.err == nil && path != "telemetry.sample" && !mayBeFloat(path) {
		k.err = keyError(n, "must be a whole number")
	}
	return k
}

// mayBeFloat is for keys whose values are texts or free: 1.50 is a fine password.
func mayBeFloat(path string) bool {
	for _, part := range []string{".options.", ".credentials.", ".callback_token", ".base_url", ".inbound.", ".user", ".password"} {
		if strings.Contains(path, part) {
			return true
		}
	}
	return false
}

// yamlError turns the decoder's error into ours. Only the words are taken, never
// the excerpt of the source, which may show a secret.
func yamlError(err error, byOffset map[int]string) error {
	if own, ok := asError(err); ok {
		return own
	}
	var ye yaml.Error
	if !errors.As(err, &ye) {
		return &Error{Reason: "is not valid YAML"}
	}
	out := &Error{Reason: ye.GetMessage()}
	if tk := ye.GetToken(); tk != nil {
		out.Line, out.Key = tk.Position.Line, byOffset[tk.Position.Offset]
	}
	var unknown *yaml.UnknownFieldError
	var wrong *yaml.TypeError
	var node *yaml.UnexpectedNodeTypeError
	var overflow *yaml.OverflowError
	switch {
	case errors.As(err, &unknown):
		out.Reason = "unknown key"
	case errors.As(err, &wrong):
		out.Reason = "must be " + kindWord(wrong.DstType.Kind().String())
	case errors.As(err, &node):
		out.Reason = "must be a " + strings.ToLower(node.Expected.YAMLName())
	case errors.As(err, &overflow):
		out.Reason = "is too large"
	}
	return out
}

func kindWord(kind string) string {
	switch kind {
	case "int":
		return "a whole number"
	case "float64":
		return "a number"
	case "bool":
		return "true or false"
	case "string":
		return "a text"
	case "slice":
		return "a list"
	}
	return "a mapping"
}

// locate adds file and line to an error.
func locate(err error, file string, where source) error {
	e, ok := asError(err)
	if !ok {
		e = &Error{Reason: err.Error()}
	}
	e.File = file
	for key := e.Key; e.Line == 0 && key != ""; {
		e.Line = where[key]
		i := strings.LastIndexAny(key, ".[")
		key = key[:max(i, 0)]
	}
	return e
}
