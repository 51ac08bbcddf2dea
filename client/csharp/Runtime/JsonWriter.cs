using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;

namespace Homing
{
    /// <summary>Writes one JSON object, member by member.</summary>
    public sealed class JsonWriter
    {
        readonly StringBuilder text = new StringBuilder("{");

        /// <summary>Adds a string; null is written as null.</summary>
        public JsonWriter Add(string name, string value)
        {
            Name(name);
            if (value == null) text.Append("null");
            else Quote(text, value);
            return this;
        }

        public JsonWriter Add(string name, long value)
        {
            Name(name).Append(value.ToString(CultureInfo.InvariantCulture));
            return this;
        }

        public JsonWriter Add(string name, bool value)
        {
            Name(name).Append(value ? "true" : "false");
            return this;
        }

        /// <summary>Adds a number. Throws ArgumentException for what is infinite or not a number.</summary>
        public JsonWriter Add(string name, double value)
        {
            if (double.IsNaN(value) || double.IsInfinity(value)) throw new ArgumentException("JSON has no such number", "value");
            Name(name).Append(value.ToString("R", CultureInfo.InvariantCulture));
            return this;
        }

        public JsonWriter Add(string name, IEnumerable<string> values)
        {
            Name(name).Append('[');
            bool first = true;
            foreach (string value in values)
            {
                if (!first) text.Append(',');
                first = false;
                Quote(text, value);
            }
            text.Append(']');
            return this;
        }

        /// <summary>Adds JSON text as it is. Throws JsonException when it is none.</summary>
        public JsonWriter AddJson(string name, string json)
        {
            JsonValue.Parse(json);
            Name(name).Append(json);
            return this;
        }

        /// <summary>The object so far.</summary>
        public override string ToString() { return text + "}"; }

        StringBuilder Name(string name)
        {
            if (text.Length > 1) text.Append(',');
            Quote(text, name);
            return text.Append(':');
        }

        /// <summary>A string as JSON text.</summary>
        public static string Quote(string value)
        {
            var s = new StringBuilder(value.Length + 2);
            Quote(s, value);
            return s.ToString();
        }

        /// <summary>Half pairs are escaped: UTF-8 cannot carry them.</summary>
        static void Quote(StringBuilder s, string value)
        {
            s.Append('"');
            for (int i = 0; i < value.Length; i++)
            {
                char c = value[i];
                if (c == '"' || c == '\\') s.Append('\\').Append(c);
                else if (c == '\n') s.Append("\\n");
                else if (c < ' ') Escape(s, c);
                else if (char.IsHighSurrogate(c) && i + 1 < value.Length && char.IsLowSurrogate(value[i + 1])) s.Append(c).Append(value[++i]);
                else if (char.IsSurrogate(c)) Escape(s, c);
                else s.Append(c);
            }
            s.Append('"');
        }

        static void Escape(StringBuilder s, char c)
        {
            s.Append("\\u").Append(((int)c).ToString("x4", CultureInfo.InvariantCulture));
        }
    }
}
