package envelope

// Refusal says why an envelope or one of its recipients is refused. Field is
// the JSON field (for MissingVariable: the variable) that is the cause; Detail
// is for people and never repeats a text or a full number.
type Refusal struct {
	Code   Code   `json:"code"`
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Error returns code, field and detail.
func (r *Refusal) Error() string {
	s := string(r.Code)
	if r.Field != "" {
		s += " (" + r.Field + ")"
	}
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

// Refuse returns a refusal as an error.
func Refuse(code Code, field, detail string) *Refusal {
	return &Refusal{Code: code, Field: field, Detail: detail}
}
