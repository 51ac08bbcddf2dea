using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;

namespace Homing
{
    /// <summary>What a JSON value is.</summary>
    public enum JsonKind { Null, Bool, Number, String, Array, Object }

    /// <summary>A text that is not JSON (RFC 8259), or a value that is not what was asked of it.</summary>
    public sealed class JsonException : Exception
    {
        public JsonException(string message) : base(message) { }
    }

    /// <summary>
    /// A JSON value: a part of a text that has been checked as a whole. Members and items are
    /// found when they are asked for. It never recurses, so that no depth of nesting ends the
    /// process, and it uses no reflection. It is immutable and safe to read from several threads.
    /// </summary>
    public sealed class JsonValue
    {
        readonly string text;
        readonly int from, to; // without white space around it
        Dictionary<string, JsonValue> byName; // made when a member is asked for first

        internal JsonValue(string text, int from, int to)
        {
            this.text = text;
            this.from = from;
            this.to = to;
        }

        /// <summary>Checks a whole text. Throws JsonException.</summary>
        public static JsonValue Parse(string text)
        {
            if (text == null) throw new ArgumentNullException("text");
            int from = JsonScan.SkipSpace(text, 0);
            int to = JsonScan.Value(text, from);
            if (JsonScan.SkipSpace(text, to) != text.Length) throw JsonScan.Bad(text, to, "the end");
            return new JsonValue(text, from, to);
        }

        /// <summary>Reports whether a text is JSON.</summary>
        public static bool IsValid(string text)
        {
            try { Parse(text); return true; }
            catch (JsonException) { return false; }
        }

        /// <summary>The value as it was written: JSON text, for UnityEngine.JsonUtility for example.</summary>
        public string Text { get { return text.Substring(from, to - from); } }

        internal int Length { get { return to - from; } }

        public override string ToString() { return Text; }

        public JsonKind Kind
        {
            get
            {
                switch (text[from])
                {
                    case '{': return JsonKind.Object;
                    case '[': return JsonKind.Array;
                    case '"': return JsonKind.String;
                    case 't': case 'f': return JsonKind.Bool;
                    case 'n': return JsonKind.Null;
                    default: return JsonKind.Number;
                }
            }
        }

        public bool IsNull { get { return Kind == JsonKind.Null; } }

        /// <summary>
        /// A member of an object, the last of that name, or null when it has none of that name or
        /// the value is no object.
        /// </summary>
        public JsonValue this[string name]
        {
            get
            {
                var known = byName;
                if (known == null)
                {
                    known = new Dictionary<string, JsonValue>();
                    foreach (var member in Members()) known[member.Key] = member.Value;
                    byName = known;
                }
                JsonValue found;
                return known.TryGetValue(name, out found) ? found : null;
            }
        }

        /// <summary>The members of an object in their order, or nothing. Names may repeat.</summary>
        public IEnumerable<KeyValuePair<string, JsonValue>> Members()
        {
            if (Kind != JsonKind.Object) yield break;
            int at = JsonScan.SkipSpace(text, from + 1);
            while (text[at] != '}')
            {
                int end = JsonScan.String(text, at);
                string name = JsonScan.Unquote(text, at, end);
                at = JsonScan.SkipSpace(text, JsonScan.SkipSpace(text, end) + 1); // past the colon
                end = JsonScan.Value(text, at);
                yield return new KeyValuePair<string, JsonValue>(name, new JsonValue(text, at, end));
                at = JsonScan.SkipSpace(text, end);
                if (text[at] == ',') at = JsonScan.SkipSpace(text, at + 1);
            }
        }

        /// <summary>The items of an array in their order, or nothing.</summary>
        public IEnumerable<JsonValue> Items()
        {
            if (Kind != JsonKind.Array) yield break;
            int at = JsonScan.SkipSpace(text, from + 1);
            while (text[at] != ']')
            {
                int end = JsonScan.Value(text, at);
                yield return new JsonValue(text, at, end);
                at = JsonScan.SkipSpace(text, end);
                if (text[at] == ',') at = JsonScan.SkipSpace(text, at + 1);
            }
        }

        /// <summary>A string's characters. Throws JsonException for another kind.</summary>
        public string AsString()
        {
            if (Kind != JsonKind.String) throw Unlike("a string");
            return JsonScan.Unquote(text, from, to);
        }

        /// <summary>Throws JsonException for another kind than a boolean.</summary>
        public bool AsBool()
        {
            if (Kind != JsonKind.Bool) throw Unlike("a boolean");
            return text[from] == 't';
        }

        /// <summary>
        /// A number, as near as the runtime reads it (Mono may miss the last bit); one that is too
        /// large is infinite. Throws JsonException for another kind.
        /// </summary>
        public double AsDouble()
        {
            if (Kind != JsonKind.Number) throw Unlike("a number");
            double value;
            if (double.TryParse(Text, NumberStyles.Float, CultureInfo.InvariantCulture, out value))
                return value == 0 && text[from] == '-' ? -0.0 : value; // which Mono forgets
            return text[from] == '-' ? double.NegativeInfinity : double.PositiveInfinity; // .NET Framework and Mono: OverflowException
        }

        /// <summary>
        /// A whole number, exactly, also when it is written as 1e3 or 1.0. Throws JsonException for
        /// another kind, a fraction, or what a long does not hold.
        /// </summary>
        public long AsLong()
        {
            if (Kind != JsonKind.Number) throw Unlike("a number");
            long exact;
            if (long.TryParse(Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out exact)) return exact;
            double value = AsDouble();
            if (Math.Floor(value) != value || Math.Abs(value) >= 9.2e18) throw Unlike("a whole number");
            return (long)value;
        }

        JsonException Unlike(string what)
        {
            return new JsonException("want " + what + ", have " + Kind);
        }

        // What messages of the server hold. A member that is missing or null gives the default; one
        // of another kind throws.

        internal string StringOf(string name)
        {
            var v = this[name];
            return v == null || v.IsNull ? "" : v.AsString();
        }

        internal bool BoolOf(string name)
        {
            var v = this[name];
            return v != null && !v.IsNull && v.AsBool();
        }

        internal double DoubleOf(string name)
        {
            var v = this[name];
            return v == null || v.IsNull ? 0 : v.AsDouble();
        }

        internal long LongOf(string name)
        {
            var v = this[name];
            return v == null || v.IsNull ? 0 : v.AsLong();
        }

        internal List<string> StringsOf(string name)
        {
            var all = new List<string>();
            var v = this[name];
            if (v == null || v.IsNull) return all;
            if (v.Kind != JsonKind.Array) throw v.Unlike("an array");
            foreach (var item in v.Items()) all.Add(item.AsString());
            return all;
        }
    }

    /// <summary>Finds where JSON values end, without recursion.</summary>
    static class JsonScan
    {
        internal static JsonException Bad(string text, int at, string want)
        {
            string have = at < text.Length ? "U+" + ((int)text[at]).ToString("X4") : "the end";
            return new JsonException("not JSON: at " + at + " want " + want + ", have " + have);
        }

        static char At(string text, int at)
        {
            return at < text.Length ? text[at] : '\uffff'; // no token begins with it
        }

        internal static int SkipSpace(string text, int at)
        {
            while (at < text.Length && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r')) at++;
            return at;
        }

        /// <summary>The end of the value that begins at a place.</summary>
        internal static int Value(string text, int at)
        {
            if (At(text, at) != '{' && At(text, at) != '[') return Scalar(text, at);
            var open = new Stack<char>(); // what closes each container
            for (;;)
            {
                // A value begins here.
                char c = At(text, at);
                if (c == '{' || c == '[')
                {
                    char close = c == '{' ? '}' : ']';
                    at = SkipSpace(text, at + 1);
                    if (At(text, at) != close)
                    {
                        open.Push(close);
                        if (c == '{') at = Name(text, at);
                        continue;
                    }
                    at++;
                }
                else
                {
                    at = Scalar(text, at);
                }
                // A value has ended here.
                while (open.Count > 0)
                {
                    at = SkipSpace(text, at);
                    if (At(text, at) != open.Peek()) break;
                    open.Pop();
                    at++;
                }
                if (open.Count == 0) return at;
                if (At(text, at) != ',') throw Bad(text, at, "a comma or " + open.Peek());
                at = SkipSpace(text, at + 1);
                if (open.Peek() == '}') at = Name(text, at);
            }
        }

        /// <summary>Skips a member's name, the colon and the space around it.</summary>
        static int Name(string text, int at)
        {
            if (At(text, at) != '"') throw Bad(text, at, "a name");
            at = SkipSpace(text, String(text, at));
            if (At(text, at) != ':') throw Bad(text, at, "a colon");
            return SkipSpace(text, at + 1);
        }

        static int Scalar(string text, int at)
        {
            switch (At(text, at))
            {
                case '"': return String(text, at);
                case 't': return Word(text, at, "true");
                case 'f': return Word(text, at, "false");
                case 'n': return Word(text, at, "null");
                default: return Number(text, at);
            }
        }

        static int Word(string text, int at, string word)
        {
            if (string.CompareOrdinal(text, at, word, 0, word.Length) != 0) throw Bad(text, at, word);
            return at + word.Length;
        }

        static bool IsDigit(char c) { return c >= '0' && c <= '9'; }

        static int Digits(string text, int at)
        {
            if (!IsDigit(At(text, at))) throw Bad(text, at, "a digit");
            while (IsDigit(At(text, at))) at++;
            return at;
        }

        static int Number(string text, int at)
        {
            if (At(text, at) == '-') at++;
            else if (!IsDigit(At(text, at))) throw Bad(text, at, "a value");
            at = At(text, at) == '0' ? at + 1 : Digits(text, at);
            if (At(text, at) == '.') at = Digits(text, at + 1);
            if (At(text, at) == 'e' || At(text, at) == 'E')
            {
                at++;
                if (At(text, at) == '+' || At(text, at) == '-') at++;
                at = Digits(text, at);
            }
            return at;
        }

        /// <summary>The end of the string whose quote is at a place.</summary>
        internal static int String(string text, int at)
        {
            for (at++; at < text.Length; at++)
            {
                char c = text[at];
                if (c == '"') return at + 1;
                if (c < ' ') throw Bad(text, at, "no control character in a string");
                if (c != '\\') continue;
                at++;
                if (At(text, at) == 'u')
                {
                    for (int i = 1; i <= 4; i++)
                        if (!Uri.IsHexDigit(At(text, at + i))) throw Bad(text, at + i, "a hexadecimal digit");
                    at += 4;
                }
                else if ("\"\\/bfnrt".IndexOf(At(text, at)) < 0)
                {
                    throw Bad(text, at, "an escape");
                }
            }
            throw Bad(text, at, "the end of a string");
        }

        /// <summary>The characters of a string that String has passed; half pairs stay as they are.</summary>
        internal static string Unquote(string text, int from, int to)
        {
            int first = text.IndexOf('\\', from, to - from);
            if (first < 0) return text.Substring(from + 1, to - from - 2);
            var s = new StringBuilder(to - from);
            for (int at = from + 1; at < to - 1; at++)
            {
                char c = text[at];
                if (c != '\\') { s.Append(c); continue; }
                c = text[++at];
                switch (c)
                {
                    case 'b': s.Append('\b'); break;
                    case 'f': s.Append('\f'); break;
                    case 'n': s.Append('\n'); break;
                    case 'r': s.Append('\r'); break;
                    case 't': s.Append('\t'); break;
                    case 'u':
                        s.Append((char)int.Parse(text.Substring(at + 1, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture));
                        at += 4;
                        break;
                    default: s.Append(c); break;
                }
            }
            return s.ToString();
        }
    }
}
