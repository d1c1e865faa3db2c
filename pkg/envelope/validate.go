package envelope

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of single fields. They bound what a submission costs to keep; none of
// them is a provider's.
const (
	MaxSegments      = 10   // of one text: 1,530 characters of GSM-7, 670 of UCS-2
	MaxTextBytes     = 6120 // of a text before its placeholders are filled
	MaxVariables     = 50   // of one recipient
	MaxVariableName  = 64   // bytes
	MaxVariableValue = 2048 // bytes
	MaxMetadata      = 20   // entries
	MaxMetadataKey   = 64   // bytes
	MaxMetadataValue = 512  // bytes
	MaxRefBytes      = 128
	MaxKeyBytes      = 255 // of an idempotency key
)

// Check validates what holds for the whole envelope: everything but numbers,
// rendered texts and times. The error is a *Refusal.
func (e *Envelope) Check() error {
	if n := len(e.Recipients); n > MaxRecipients {
		return Refuse(TooManyRecipients, "recipients", "at most 10,000 in one envelope")
	}
	if err := e.checkChannel(); err != nil {
		return err
	}
	switch e.Priority {
	case "", High, Normal, Bulk:
	default:
		return Refuse(InvalidEnvelope, "priority", "must be high, normal or bulk")
	}
	switch e.OnUncertain {
	case "", Hold, Retry:
	default:
		return Refuse(InvalidEnvelope, "on_uncertain", "must be hold or retry")
	}
	if e.Provider != "" && !ValidName(e.Provider) {
		return Refuse(InvalidEnvelope, "provider", "must be an account's name")
	}
	if err := CheckKey("idempotency_key", e.IdempotencyKey); err != nil {
		return err
	}
	if len(e.SupersedeKey) > MaxSupersedeBytes || !printable(e.SupersedeKey) {
		return Refuse(InvalidEnvelope, "supersede_key", "at most 128 bytes, no control characters")
	}
	return e.checkExtras()
}

func (e *Envelope) checkExtras() error {
	if err := CheckRef(e.Ref); err != nil {
		return err
	}
	if len(e.Metadata) > MaxMetadata {
		return Refuse(InvalidEnvelope, "metadata", "at most 20 entries")
	}
	for k, v := range e.Metadata {
		if k == "" || len(k) > MaxMetadataKey || len(v) > MaxMetadataValue || !printable(k) || !printable(v) {
			return Refuse(InvalidEnvelope, "metadata", "names of 1 to 64 bytes, values of at most 512, no control characters")
		}
	}
	if err := checkOptions(e.Options); err != nil {
		return err
	}
	return CheckVariables(e.Variables)
}

// Times returns when e is to be sent (nil: at once, also for a time that has
// passed) and when it expires, for an envelope accepted at now. The error is a
// *Refusal.
func (e *Envelope) Times(now time.Time) (sendAt *time.Time, expiresAt time.Time, err error) {
	start := now
	if e.SendAt != nil && e.SendAt.After(now) {
		start = e.SendAt.UTC()
		sendAt = &start
	}
	if start.Sub(now) > MaxAhead {
		return nil, time.Time{}, Refuse(InvalidEnvelope, "send_at", "at most 30 days ahead")
	}
	if e.ExpiresAt == nil {
		return sendAt, start.Add(DefaultTTL), nil
	}
	switch ttl := e.ExpiresAt.Sub(start); {
	case ttl <= 0:
		return nil, time.Time{}, Refuse(CodeExpired, "expires_at", "must be after the send time")
	case ttl > MaxTTL:
		return nil, time.Time{}, Refuse(InvalidEnvelope, "expires_at", "at most 72 h after the send time")
	}
	return sendAt, e.ExpiresAt.UTC(), nil
}

// CheckSender validates a sender id: 1 to 11 of A-Z a-z 0-9 space . - with at
// least one letter, beginning and ending with a letter, digit or dot; or a
// number of 3 to 15 digits, with or without a plus. The error is a *Refusal.
func CheckSender(s string) error {
	if digits(strings.TrimPrefix(s, "+"), 3, 15) {
		return nil
	}
	if !alphanumericSender(s) {
		return Refuse(InvalidSender, "from", "must be 1 to 11 letters, digits, spaces, dots or hyphens with at least one letter, or a number")
	}
	return nil
}

func alphanumericSender(s string) bool {
	if len(s) == 0 || len(s) > 11 || strings.Trim(s, " -") != s {
		return false
	}
	letter := false
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			letter = true
		case '0' <= c && c <= '9' || c == ' ' || c == '.' || c == '-':
		default:
			return false
		}
	}
	return letter
}

// CheckText validates a text as it would be sent and measures it. The error is
// a *Refusal.
func CheckText(s string) (Encoding, int, error) {
	if s == "" {
		return "", 0, Refuse(InvalidText, "text", "is empty")
	}
	if err := checkCharacters(s); err != nil {
		return "", 0, err
	}
	enc, n := Measure(s)
	if n > MaxSegments {
		return "", 0, Refuse(InvalidText, "text", "takes more than 10 segments")
	}
	return enc, n, nil
}

// CheckTemplate validates a text whose placeholders are not filled yet. The
// error is a *Refusal.
func CheckTemplate(s string) error {
	if s == "" {
		return Refuse(InvalidText, "text", "is empty")
	}
	return checkCharacters(s)
}

func checkCharacters(s string) error {
	if len(s) > MaxTextBytes {
		return Refuse(InvalidText, "text", "is too long")
	}
	if !utf8.ValidString(s) {
		return Refuse(InvalidText, "text", "is not valid UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) && r != '\n' && r != '\r' {
			return Refuse(InvalidText, "text", "has a control character other than a line break")
		}
	}
	return nil
}

// CheckVariables validates names and sizes of variables. Values may be any
// text: what they yield is checked by CheckText. The error is a *Refusal.
func CheckVariables(vars map[string]string) error {
	if len(vars) > MaxVariables {
		return Refuse(InvalidEnvelope, "variables", "at most 50")
	}
	for name, value := range vars {
		if name == "" || len(name) > MaxVariableName || len(value) > MaxVariableValue || !printable(name) {
			return Refuse(InvalidEnvelope, "variables", "names of 1 to 64 bytes, values of at most 2,048")
		}
	}
	return nil
}

// CheckRef validates a recipient's reference. The error is a *Refusal.
func CheckRef(ref string) error {
	if len(ref) > MaxRefBytes || !printable(ref) {
		return Refuse(InvalidEnvelope, "ref", "at most 128 bytes, no control characters")
	}
	return nil
}

// CheckKey validates an idempotency key: at most 255 printable ASCII
// characters. The error is a *Refusal.
func CheckKey(field, key string) error {
	if len(key) > MaxKeyBytes {
		return Refuse(InvalidEnvelope, field, "at most 255 bytes")
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return Refuse(InvalidEnvelope, field, "printable ASCII only")
		}
	}
	return nil
}

// ValidName reports whether s can be a tenant's or account's name:
// [a-z0-9-]{1,32}. Such names are single tokens of a bus subject.
func ValidName(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// printable reports whether s is valid UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
