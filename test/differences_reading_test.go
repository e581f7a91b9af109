package test_test

import (
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

func readingDifferences() []readingDifference {
	return slices.Concat(
		inHeaders(),
		inAttributes(),
		inTimes(),
		inJSON(),
		inData(),
	)
}

func inHeaders() []readingDifference {
	return []readingDifference{
		{
			row: 2, name: "percent-encoded",
			header: with("ce-subject", "Euro%20%E2%82%AC"),
			agner:  reads("subject", "Euro €"), sdk: reads("subject", "Euro%20%E2%82%AC"),
		},
		{
			row: 3, name: "quoted",
			header: with("ce-subject", `"a b"`),
			agner:  reads("subject", "a b"), sdk: reads("subject", `"a b"`),
		},
		{
			row: 4, name: "specversion in another case",
			header: with("ce-specversion", "-", "Ce-Specversion", "1.0"),
			agner:  reads("id", "1"), sdk: refuses("unexpected end of JSON"),
		},
		{
			row: 4, name: "attribute in another case",
			header: with("Ce-Subject", "s"),
			agner:  reads("subject", "s"), sdk: reads("subject", ""),
		},
		{
			row: 6, name: "content-type beside a binary event",
			header: with("content-type", "text/plain"), body: "x",
			agner: reads("datacontenttype", ""), sdk: reads("datacontenttype", "text/plain"),
		},
		{
			row: 7, name: "structured by Content-Type, binary by specversion",
			header: with("Content-Type", "application/cloudevents+json", "ce-id", "outer"), body: object(""),
			agner: reads("id", "1"), sdk: reads("id", "outer"),
		},
		{
			row: 9, name: "batch",
			header: nats.Header{"Content-Type": {"application/cloudevents-batch+json"}}, body: "[" + object("") + "]",
			agner: refuses("batch"), rule: envelope.ErrUnsupported, sdk: refuses("no specversion"),
		},
		{
			row: 13, name: "empty subject",
			header: with("ce-subject", ""),
			agner:  refuses("subject"), rule: envelope.ErrEmpty, sdk: reads("subject", ""),
		},
	}
}

func inAttributes() []readingDifference {
	return []readingDifference{
		{
			row: 10, name: "specversion 0.3",
			header: with("ce-specversion", "0.3"),
			agner:  refuses("specversion"), rule: envelope.ErrSpecVersion, sdk: reads("id", "1"),
		},
		{
			row: 11, name: "id of a space", body: strings.Replace(object(""), `"1"`, `" "`, 1),
			agner: reads("id", " "), sdk: refuses("id"),
		},
		{
			row: 14, name: "extension data",
			header: with("ce-data", "x"),
			agner:  refuses("data"), rule: envelope.ErrName, sdk: reads("data", "x"),
		},
		{
			row: 15, name: "name in upper case", body: object(`,"Foo":"k"`),
			agner: refuses("Foo"), rule: envelope.ErrName, sdk: reads("foo", "k"),
		},
		{
			row: 16, name: "control character",
			header: with("ce-subject", "a\x01b"),
			agner:  refuses("subject"), rule: envelope.ErrText, sdk: reads("subject", "a\x01b"),
		},
		{
			row: 16, name: "control character in JSON", body: object(`,"subject":"a\u0001b"`),
			agner: refuses("subject"), rule: envelope.ErrText, sdk: reads("subject", "a\x01b"),
		},
		{
			row: 16, name: "noncharacter", body: object(`,"subject":"a\ufdd0b"`),
			agner: refuses("subject"), rule: envelope.ErrText, sdk: reads("subject", "a\ufdd0b"),
		},
		{
			row: 16, name: "invalid UTF-8", body: object(",\"subject\":\"a\xffb\""),
			agner: refuses("UTF-8"), sdk: reads("subject", "a\xffb"),
		},
		{
			row: 17, name: "half of a surrogate pair", body: object(`,"subject":"a\ud800b"`),
			agner: refuses("surrogate"), sdk: reads("subject", "a\ufffdb"),
		},
		{
			row: 18, name: "source with a space", body: strings.Replace(object(""), "/s", "/a b", 1),
			agner: refuses("source"), sdk: reads("source", "/a%20b"),
		},
		{
			row: 18, name: "source with a letter outside ASCII", body: strings.Replace(object(""), "/s", "/ü", 1),
			agner: refuses("source"), sdk: reads("source", "/%C3%BC"),
		},
		{
			row: 19, name: "source with a scheme in upper case",
			header: with("ce-source", "HTTP://a"),
			agner:  reads("source", "HTTP://a"), sdk: reads("source", "http://a"),
		},
		{
			row: 19, name: "source with an empty fragment",
			header: with("ce-source", "/a#"),
			agner:  reads("source", "/a#"), sdk: reads("source", "/a"),
		},
		{
			row: 20, name: "schema with a fragment",
			header: with("ce-dataschema", "https://example.com/s#f"),
			agner:  refuses("dataschema"), rule: envelope.ErrURI, sdk: reads("dataschema", "https://example.com/s#f"),
		},
		{
			row: 21, name: "media type of one word",
			header: with("ce-datacontenttype", "json"),
			agner:  refuses("datacontenttype"), rule: envelope.ErrMediaType, sdk: reads("datacontenttype", "json"),
		},
		{
			row: 21, name: "media type with an empty parameter",
			header: with("ce-datacontenttype", "text/plain;"),
			agner:  refuses("datacontenttype"), rule: envelope.ErrMediaType, sdk: reads("datacontenttype", "text/plain;"),
		},
		{
			row: 38, name: "long id",
			header: with("ce-id", strings.Repeat("i", envelope.MaxID+1)),
			agner:  refuses("id"), rule: envelope.ErrTooLong, sdk: reads("id", strings.Repeat("i", envelope.MaxID+1)),
		},
	}
}

func inTimes() []readingDifference {
	return []readingDifference{
		{
			row: 22, name: "hour of one digit",
			header: with("ce-time", "2026-08-20T7:31:00Z"),
			agner:  refuses("time"), rule: envelope.ErrTimestamp, sdk: reads("time", "2026-08-20T07:31:00Z"),
		},
		{
			row: 22, name: "comma before the fraction",
			header: with("ce-time", "2026-08-20T07:31:00,5Z"),
			agner:  refuses("time"), rule: envelope.ErrTimestamp, sdk: reads("time", "2026-08-20T07:31:00.5Z"),
		},
		{
			row: 22, name: "offset of a day",
			header: with("ce-time", "2026-08-20T07:31:00+24:00"),
			agner:  refuses("time"), rule: envelope.ErrTimestamp, sdk: reads("time", "2026-08-19T07:31:00Z"),
		},
		{
			row: 23, name: "lower case",
			header: with("ce-time", "2026-08-20t07:31:00z"),
			agner:  reads("time", "2026-08-20T07:31:00Z"), sdk: refuses("time"),
		},
		{
			row: 23, name: "leap second",
			header: with("ce-time", "2016-12-31T23:59:60Z"),
			agner:  reads("time", "2017-01-01T00:00:00Z"), sdk: refuses("time"),
		},
	}
}

func inJSON() []readingDifference {
	return []readingDifference{
		{
			row: 27, name: "fraction as an extension", body: object(`,"weight":1.5`),
			agner: refuses("weight"), rule: envelope.ErrValueType, sdk: reads("weight", "1"),
		},
		{
			row: 29, name: "two members of one name", body: object(`,"subject":"a","subject":"b"`),
			agner: refuses("twice"), sdk: reads("subject", "b"),
		},
		{
			row: 31, name: "null as content type", body: object(`,"datacontenttype":null`),
			agner: reads("datacontenttype", ""), sdk: refuses("RFC 2046"),
		},
		{
			row: 38, name: "deep nesting", body: object(`,"datacontenttype":"application/json","data":` + strings.Repeat("[", 300) + strings.Repeat("]", 300)),
			agner: refuses("deep"), sdk: reads(theData, strings.Repeat("[", 300)+strings.Repeat("]", 300)),
		},
	}
}

func inData() []readingDifference {
	return []readingDifference{
		{
			row: 30, name: "data, then data_base64", body: object(`,"data":1,"data_base64":"Mg=="`),
			agner: refuses("both"), rule: envelope.ErrData, sdk: reads(theData, "2"),
		},
		{
			row: 30, name: "data_base64, then data", body: object(`,"data_base64":"Mg==","data":1`),
			agner: refuses("both"), rule: envelope.ErrData, sdk: refuses("panic: runtime error"),
		},
		{
			row: 32, name: "object under +json", body: object(`,"datacontenttype":"application/vnd.x+json","data":{"a":1}`),
			agner: reads(theData, `{"a":1}`), sdk: refuses("expected a string"),
		},
		{
			row: 32, name: "object under JSON in upper case", body: object(`,"datacontenttype":"APPLICATION/JSON","data":{"a":1}`),
			agner: reads(theData, `{"a":1}`), sdk: refuses("expected a string"),
		},
		{
			row: 34, name: "white space before base64 without a content type", body: object(`,"data_base64": "MQ=="`),
			agner: reads(theData, "1"), sdk: refuses("illegal base64"),
		},
		{
			row: 35, name: "stray last bits", body: object(`,"datacontenttype":"text/plain","data_base64":"MR=="`),
			agner: refuses("data_base64"), rule: envelope.ErrData, sdk: reads(theData, "1"),
		},
		{
			row: 36, name: "data without a content type", body: object(`,"data":{"a":1}`),
			agner: reads("datacontenttype", "application/json"), sdk: reads("datacontenttype", ""),
		},
		{
			row: 37, name: "text in another charset", body: object(`,"datacontenttype":"text/plain; charset=latin1","data":"é"`),
			agner: refuses("charset"), rule: envelope.ErrData, sdk: reads(theData, "é"),
		},
	}
}
