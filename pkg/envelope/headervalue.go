package envelope

// EscapeHeader makes a header value of any text by the rule of the NATS binding
// for attributes: space, '"', '%' and all bytes outside U+0021 to U+007E become
// %XX, upper case. Line breaks survive, and none reaches the wire.
func EscapeHeader(s string) string { return escape(s) }

// UnescapeHeader is the inverse of EscapeHeader. ok is false if the value
// decodes to invalid UTF-8.
func UnescapeHeader(value string) (text string, ok bool) { return unescape(value) }
