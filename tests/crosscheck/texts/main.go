// SPDX-License-Identifier: Apache-2.0

// What the Agent's own code makes of names, queries, commands and URLs, compared with what ours (texts.c) does: on the
// seeds below and on as many changed ones as there is time for.
//
//	texts PROGRAM SECONDS
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/DataDog/datadog-agent/pkg/obfuscate"
	"github.com/DataDog/datadog-agent/pkg/trace/traceutil/normalize"
)

type check struct {
	what  byte
	name  string
	seeds []string
	// The Agent's answer; false: refused.
	theirs func(s string) (string, bool)
	// Alphabet of changes.
	pieces []string
	// Is the input one this comparison is about?
	fits func(s string) bool
}

func obfuscator(c obfuscate.Config) *obfuscate.Obfuscator {
	return obfuscate.NewObfuscator(c)
}

// Applied until it changes nothing, as one Agent after the other would.
func sql(s string) (string, bool) {
	for i := 0; i < 9; i++ {
		// A new one each time: it remembers what a backslash meant last.
		q, err := obfuscator(obfuscate.Config{}).ObfuscateSQLString(s)
		if err != nil {
			return "", false
		}
		if q.Query == s {
			return s, true
		}
		s = q.Query
	}
	return "", false
}

func sqlOnce(s string) (string, bool) {
	q, err := obfuscator(obfuscate.Config{}).ObfuscateSQLString(s)
	if err != nil {
		return "", false
	}
	return q.Query, true
}

func valid(s string) bool { return utf8.ValidString(s) }

func checks() []check {
	plain := obfuscator(obfuscate.Config{CreditCard: obfuscate.CreditCardsConfig{Enabled: true}})
	keep := obfuscator(obfuscate.Config{
		Memcached: obfuscate.MemcachedConfig{Enabled: true, KeepCommand: true},
		Mongo:     obfuscate.JSONConfig{Enabled: true},
		ES:        obfuscate.JSONConfig{Enabled: true, KeepValues: []string{"a", "query"}},
		HTTP:      obfuscate.HTTPConfig{RemoveQueryString: true, RemovePathDigits: true},
	})
	luhn := obfuscator(obfuscate.Config{CreditCard: obfuscate.CreditCardsConfig{Enabled: true, Luhn: true}})
	total := func(f func(string) string) func(string) (string, bool) {
		return func(s string) (string, bool) { return f(s), true }
	}
	card := func(o *obfuscate.Obfuscator) func(string) (string, bool) {
		return total(func(s string) string {
			if o.ObfuscateCreditCardNumber(s) == "?" {
				return "?"
			}
			return "-"
		})
	}
	words := []string{" ", "  ", "\n", "\t", "\"", "\\", "SET", "k", "v", "GET", "?", "...", "\r", "é", "ZADD", "NX", "BITFIELD", "CONFIG"}
	urls := []string{"/", "?", "#", "a", "1", "%20", "%2f", " ", "é", "@", ":", "//", "http://", "u:p@", "&", "=", "[", "|", "\"", "~", "!", "*", "'", "(", ";", ","}
	names := []string{"a", "Z", "9", "_", ".", "-", ":", "/", " ", "é", "Ü", "繋", "🐨", "İ", "K", "\xff", "\xe2\x82", "$", "#", "一", "٣", "²", "ǅ"}
	return []check{
		{'Q', "sql, once", sqlSeeds, sqlOnce, sqlPieces, valid},
		{'q', "sql", sqlSeeds, sql, sqlPieces, valid},
		{'r', "redis command", redisSeeds, total(plain.ObfuscateRedisString), words, nil},
		{'R', "redis resource", redisSeeds, total(plain.QuantizeRedisString), words, func(s string) bool {
			// Letters whose upper case is another one are left as they are by ours.
			return utf8.ValidString(s) && strings.ToUpper(s) == strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' {
					return r - 32
				}
				return r
			}, s)
		}},
		{'a', "redis without arguments", redisSeeds, total(plain.RemoveAllRedisArgs), words, valid},
		{'m', "memcached", []string{"set k 0 0 5\r\nhello\r\n", " get k \r\n", ""}, total(keep.ObfuscateMemcachedString), []string{" ", "\r\n", "k", "\n"}, nil},
		{'j', "json", jsonSeeds, total(keep.ObfuscateMongoDBString), jsonPieces, noScalarBehindObject},
		{'J', "json, keys kept", jsonSeeds, total(keep.ObfuscateElasticSearchString), jsonPieces, noScalarBehindObject},
		{'u', "url", urlSeeds, total(plain.ObfuscateURLString), urls, plainURL},
		{'U', "url, stripped", urlSeeds, total(keep.ObfuscateURLString), urls, plainURL},
		{'c', "card", cardSeeds, card(plain), []string{"0", "1", "3", "4", "5", "6", "9", " ", "-", "x"}, nil},
		{'l', "card, luhn", cardSeeds, card(luhn), []string{"0", "1", "3", "4", "5", "6", "9", " ", "-", "x"}, nil},
		{'s', "service", nameSeeds, func(s string) (string, bool) { r, _ := normalize.NormalizeService(s, "go"); return r, true }, names, nil},
		{'p', "peer service", nameSeeds, func(s string) (string, bool) { r, _ := normalize.NormalizePeerService(s); return r, true }, names, nil},
		{'n', "name", nameSeeds, func(s string) (string, bool) { r, _ := normalize.NormalizeName(s); return r, true }, names, nil},
		{'t', "tag", nameSeeds, total(normalize.NormalizeTag), names, nil},
		{'v', "tag value", nameSeeds, total(normalize.NormalizeTagValue), names, nil},
	}
}

// Behind an object, the Agent shows scalars as they are; ours never does.
func noScalarBehindObject(s string) bool {
	d := json.NewDecoder(strings.NewReader(s))
	object := false
	for {
		at := d.InputOffset()
		rest := strings.TrimLeft(s[at:], " \t\r\n")
		if rest == "" {
			return true
		}
		if object && rest[0] != '{' && rest[0] != '[' {
			return false
		}
		object = object || rest[0] == '{'
		var v json.RawMessage
		if d.Decode(&v) != nil {
			return true
		}
	}
}

// Hosts are taken apart by Go in ways that no URL of a request needs.
func plainURL(s string) bool {
	if _, err := url.Parse(s); err != nil {
		return false
	}
	i := strings.Index(s, "//")
	if i < 0 {
		return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//")
	}
	if s[:i] != "http:" && s[:i] != "https:" {
		return false
	}
	end := strings.IndexAny(s[i+2:], "/?#")
	authority := s[i+2:]
	if end >= 0 {
		authority = authority[:end]
	}
	at := strings.LastIndex(authority, "@")
	for _, r := range authority[at+1:] {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-') {
			return false
		}
	}
	for _, r := range authority[:at+1] {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == ':' || r == '@') {
			return false
		}
	}
	return strings.Count(authority, "@") <= 1 && utf8.ValidString(s)
}

var sqlPieces = []string{" ", "'", "\"", "`", "\\", "(", ")", ",", "?", ";", "=", ":", "::", "$1", "$$", "$a$", "--", "/*", "*/", "#", "{", "}", "[", "]",
	"1", "-1.5e3", "0x1f", "NULL", "AS", "select", "FROM", "t", "x.y", "%s", "%(a)s", "%", ":v", "!", "!=", "<=>", "->", "~*", ".", "-.", "@", "\n", "é", "\x00", "SAVEPOINT", "update", "\u2003", "ſelect", "//"}
var sqlSeeds = []string{
	"SELECT * FROM t WHERE a IN ('x','y')", "INSERT INTO u (id, n) VALUES ('F','S'), ('J','S');", "SELECT COUNT(*) FROM t",
	"CREATE TABLE s (id INTEGER not NULL, PRIMARY KEY ( id ))", "UPDATE t SET a = 1, b = 2", "SELECT '60'::text", "SELECT 1 - 2", "col > -1e6",
	"SELECT 3 AS n, a.id FROM a", "SELECT a AS [b c] FROM d", "SAVEPOINT \"s139956586256192_x1\"", "select \"a\" from `b` where c=\"d\" -- e",
	"SELECT $1, $2 FROM a WHERE x = $func$ select 1 $func$", "SELECT * FROM (SELECT 1), (SELECT 2)", "{call f(?, {d '2024-01-01'})}",
	"SELECT %s, %(x)s FROM t # c\n WHERE a := :b", "select a from b where c in (select 1, 2), (update d), (?)", "WITH x AS (SELECT 1) SELECT * FROM x",
	"SELECT 'it''s' \\'a' FROM b", "DELETE FROM t WHERE a <=> NULL AND b !~* 'c'", "/* a */ SELECT // b\n 1", "arr[$1:$2]", "a -.b", "SELECT '\\'", "SELECT 'a\\'b'",
}
var redisSeeds = []string{
	"SET k v EX 10", "AUTH p", "HELLO 3 AUTH u p", "ACL SETUSER a on >p", "SETEX k 10 v", "LINSERT k BEFORE p v", "GEOADD k 1 2 m 3 4 n", "HSET h f1 v1 f2 v2",
	"MSET k1 v1 k2 v2", "CONFIG SET p v", "CONFIG GET p", "BITFIELD k SET u8 0 7 GET u4 0 SET u8 1 9", "ZADD k NX 1 m 2 n", "GET a\nSET b c\nDEL d\nGET e",
	"set \"a b\" \"c \\\" d\"  e", "CLIENT LIST", "GET...", "SET k...", "  PING  ", "", "EVAL x 1 k", "client set...", "HMSET a", "MSET a", "ZADD k", "\t GET\t x",
}
var jsonSeeds = []string{
	`{"a": 1, "b": ["x", null, {"c": true}], "query": {"a": {"z": "é"}, "y": 1.5e-3}}`, `[1, 2, 3] {"a": "b"}`, `"x"`, `5`, `{"a": "b`, `{"a" 1}`, `{}`, `[]`, ``, `[{"query": [1, {"q": 2}], "p": 3}]`,
	`{"index":{"_id":"1"}}` + "\n" + `{"a":"b"}`, `{"a\"b": "\u00e9"}`, `tru`, `{"a": -}`,
}
var jsonPieces = []string{"{", "}", "[", "]", ",", ":", "\"", "\\", "\"a\"", "\"query\"", "1", "-", "0", ".", "e", "true", "null", "f", " ", "\n", "\"\\u00e9\"", "é", "\x01"}
var urlSeeds = []string{
	"http://u:p@h.example/a/1b/c?x=1#f", "https://h/a b?q", "/waf?pass=1&k=v", "http://h", "http://h/?", "http://h/é/x%2fy", "/a%zz", "http://u@h/", "http://h/a'b(c)*!", "http://h/a|b#c d", "/a;b,c?d", "http://h/a?b#",
}
var cardSeeds = []string{"4111 1111 1111 1111", "378282246310005", "3714-496353-98431", "5105105105105100", "6011000990139424", "30569309025904", "3530111333300000", "2221001234567890", "0123456789012", "411111111111", "5019717010103742", "0041111111111111"}
var nameSeeds = []string{"", "web", "Too$Long$.", "bad&service", "#test_starting_hash", "Data🐨dog🐶 繋がっ⛰てて", "---fun:k####y_ta@#g/1_@@#", "&&&&&&&_test-name-", "a._b", "_", "..", "a_.b", strings.Repeat("a", 250), strings.Repeat("é", 120), strings.Repeat("ab_", 80)}

func changed(r *rand.Rand, c *check) string {
	s := c.seeds[r.Intn(len(c.seeds))]
	for n := r.Intn(6); n >= 0; n-- {
		at := 0
		if len(s) > 0 {
			at = r.Intn(len(s) + 1)
		}
		switch r.Intn(5) {
		case 0:
			if len(s) > at {
				s = s[:at] + s[at+1:]
			}
		case 1:
			other := c.seeds[r.Intn(len(c.seeds))]
			cut := r.Intn(len(other) + 1)
			s = s[:at] + other[cut:]
		default:
			s = s[:at] + c.pieces[r.Intn(len(c.pieces))] + s[at:]
		}
	}
	return s
}

type program struct {
	in  io.Writer
	out *bufio.Reader
}

func (p *program) ask(what byte, s string) (string, bool) {
	head := make([]byte, 5)
	head[0] = what
	binary.LittleEndian.PutUint32(head[1:], uint32(len(s)))
	must(p.in.Write(append(head, s...)))
	must(io.ReadFull(p.out, head))
	text := make([]byte, binary.LittleEndian.Uint32(head[1:]))
	must(io.ReadFull(p.out, text))
	return string(text), head[0] == 0
}

func must(_ int, err error) {
	if err != nil {
		fmt.Println("the program under test ended:", err)
		os.Exit(1)
	}
}

func main() {
	seconds, _ := strconv.ParseFloat(os.Args[2], 64)
	cmd := exec.Command(os.Args[1])
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	p := &program{in, bufio.NewReader(out)}
	r := rand.New(rand.NewSource(1))
	all := checks()
	bad := 0
	for i := range all {
		c := &all[i]
		until := time.Now().Add(time.Duration(seconds / float64(len(all)) * 1e9))
		done, differ := 0, 0
		for n := 0; n < len(c.seeds) || time.Now().Before(until); n++ {
			s := ""
			if n < len(c.seeds) {
				s = c.seeds[n]
			} else {
				s = changed(r, c)
			}
			if c.fits != nil && !c.fits(s) {
				continue
			}
			done++
			want, ok := c.theirs(s)
			got, taken := p.ask(c.what, s)
			if want == got && ok == taken {
				continue
			}
			if differ++; differ <= 5 {
				fmt.Printf("%s: %q\n  Agent %q %v\n  ours  %q %v\n", c.name, s, want, ok, got, taken)
			}
		}
		fmt.Printf("%s: %d texts, %d differ\n", c.name, done, differ)
		bad += differ
	}
	if bad > 0 {
		os.Exit(1)
	}
}
