using System;
using System.Text;

namespace Homing.Tests
{
    static class JsonTests
    {
        internal static void Register()
        {
            Program.Add("json: what is none", NotJson);
            Program.Add("json: values", Values);
            Program.Add("json: nesting has no limit", Deep);
            Program.Add("json: the last of a name counts", Repeated);
            Program.Add("json: writing", Writing);
        }

        static void NotJson()
        {
            foreach (string text in new[]
            {
                "", " ", "{", "}", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "01", "-", "1.", ".5", "1e", "+1", "nul", "NaN", "'a'",
                "\"", "\"\\x\"", "\"\\u12\"", "\"\n\"", "1 2", "[1 2]", "[1}", "{\"a\":1]", "\"a\" b", "\u00a01", "tru", "[[]", "// x\n1",
            })
                Want.True(!JsonValue.IsValid(text), "not JSON: " + text);
        }

        static void Values()
        {
            var v = JsonValue.Parse(" {\"s\":\"a\\u00e9\\ud83d\\ude00\\n\\\"\",\"n\":-12.5e1,\"b\":true,\"z\":null,\"a\":[1,[2],{}],\"o\":{\"x\":1}} ");
            Want.Equal("aé\ud83d\ude00\n\"", v["s"].AsString(), "a string");
            Want.Equal(-125.0, v["n"].AsDouble(), "a number");
            Want.Equal(true, v["b"].AsBool(), "a boolean");
            Want.True(v["z"].IsNull, "null");
            Want.Equal("[1,[2],{}]", v["a"].Text, "an array");
            Want.Equal(1L, v["o"]["x"].AsLong(), "a member of a member");
            Want.Equal(null, v["nobody"], "no such member");
            Want.Equal(null, v["n"]["x"], "a member of a number");
            Want.Equal(9007199254740991L, JsonValue.Parse("9007199254740991").AsLong(), "53 bits");
            Want.Equal(1000L, JsonValue.Parse("1e3").AsLong(), "a whole number");
            Want.Equal(double.PositiveInfinity, JsonValue.Parse("1e999").AsDouble(), "too large");
            Want.Throws<JsonException>(() => JsonValue.Parse("1.5").AsLong(), "a fraction");
            Want.Throws<JsonException>(() => JsonValue.Parse("\"1\"").AsLong(), "a string");
            Want.Throws<JsonException>(() => JsonValue.Parse("1").AsString(), "a number");
        }

        static void Deep()
        {
            const int depth = 1000000;
            string text = new string('[', depth) + new string(']', depth);
            var v = JsonValue.Parse("{\"data\":" + text + "}");
            Want.Equal(2 * depth, v["data"].Text.Length, "its length");
            Want.True(!JsonValue.IsValid(new string('[', depth)), "what does not end");
        }

        static void Repeated()
        {
            Want.Equal(2L, JsonValue.Parse("{\"a\":1,\"a\":2}")["a"].AsLong(), "the last");
        }

        static void Writing()
        {
            string text = new JsonWriter().Add("s", "\"\\\n\u0001é\ud83d\ude00\ud83d").Add("n", 5).Add("d", 0.1).Add("b", false).Add("l", new[] { "a", "b" }).AddJson("j", "[1]").ToString();
            Want.Equal("{\"s\":\"\\\"\\\\\\n\\u0001é\ud83d\ude00\\ud83d\",\"n\":5,\"d\":0.1,\"b\":false,\"l\":[\"a\",\"b\"],\"j\":[1]}", text, "the text");
            JsonValue.Parse(text);
            Encoding.UTF8.GetBytes(text);
            Want.Throws<JsonException>(() => new JsonWriter().AddJson("j", "1,\"t\":\"leave\""), "a value that is none");
            Want.Throws<ArgumentException>(() => new JsonWriter().Add("d", double.NaN), "no number");
        }
    }
}
