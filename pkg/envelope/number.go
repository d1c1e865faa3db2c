package envelope

// ValidNumber reports whether s is written in E.164: a plus, then 8 to 15 ASCII
// digits of which the first is not 0. It does not know which numbers exist.
func ValidNumber(s string) bool {
	return len(s) >= 9 && s[0] == '+' && s[1] != '0' && digits(s[1:], 8, 15)
}

// digits reports whether s is min to max ASCII digits.
func digits(s string, least, most int) bool {
	if len(s) < least || len(s) > most {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
