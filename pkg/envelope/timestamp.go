package envelope

import "time"

func checkTime(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	const year1, year9999 = -62_135_596_800, 253_370_764_800 // Unix seconds; offsets matter outside
	if s := t.Unix(); s > year1+86_400 && s < year9999 {
		return nil
	}
	if y := wireTime(t).Year(); y < 0 || y > 9999 {
		return attributeError(attrTime, ErrTimestamp, t.String(), nil)
	}
	return nil
}

// wireTime is t in a zone that RFC 3339 can write: one of whole minutes within
// a day of UTC, else UTC.
func wireTime(t time.Time) time.Time {
	if _, off := t.Zone(); off%60 != 0 || off <= -86_400 || off >= 86_400 {
		return t.UTC()
	}
	return t
}

func appendTime(b []byte, t time.Time) []byte {
	return wireTime(t).AppendFormat(b, time.RFC3339Nano)
}

func formatTime(t time.Time) string {
	var buf [len(time.RFC3339Nano)]byte
	return string(appendTime(buf[:0], t))
}

// parseTime reads a timestamp of RFC 3339. It is its own parser because
// time.Parse takes shapes that the RFC does not have ("T7:31:00", comma
// fractions) and refuses two that it has (lower case, leap seconds).
// Fractions are cut to nanoseconds, and a leap second is the second after it.
func parseTime(s string) (t time.Time, ok bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return t, false
	}
	year := twoDigits(s, 0)*100 + twoDigits(s, 2)
	month, day := twoDigits(s, 5), twoDigits(s, 8)
	hour, minute, sec := twoDigits(s, 11), twoDigits(s, 14), twoDigits(s, 17)
	if year < 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour < 0 || hour > 23 || minute < 0 || minute > 59 || sec < 0 || sec > 60 {
		return t, false
	}
	nanos, rest, ok := parseFraction(s[19:])
	if !ok {
		return t, false
	}
	loc, ok := parseOffset(rest)
	if !ok {
		return t, false
	}
	t = time.Date(year, time.Month(month), day, hour, minute, sec, nanos, loc)
	if sec == 60 {
		// Leap seconds end a UTC day, whatever the offset.
		if u := t.UTC(); u.Hour() != 0 || u.Minute() != 0 || u.Second() != 0 {
			return time.Time{}, false
		}
	}
	return t, true
}

func parseFraction(s string) (nanos int, rest string, ok bool) {
	if s == "" || s[0] != '.' {
		return 0, s, s != ""
	}
	i, scale := 1, 100_000_000
	for ; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		nanos += int(s[i]-'0') * scale
		scale /= 10
	}
	return nanos, s[i:], i > 1
}

func parseOffset(s string) (*time.Location, bool) {
	if s == "Z" || s == "z" {
		return time.UTC, true
	}
	if len(s) != len("+07:00") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return nil, false
	}
	hour, minute := twoDigits(s, 1), twoDigits(s, 4)
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 {
		return nil, false
	}
	off := (hour*60 + minute) * 60
	if off == 0 {
		return time.UTC, true
	}
	if s[0] == '-' {
		off = -off
	}
	return time.FixedZone("", off), true
}

// notDigits is what twoDigits gives for other text: low enough to stay
// negative in the sum of a year.
const notDigits = -10_000

func twoDigits(s string, i int) int {
	a, b := s[i]-'0', s[i+1]-'0'
	if a > 9 || b > 9 {
		return notDigits
	}
	return int(a)*10 + int(b)
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}
