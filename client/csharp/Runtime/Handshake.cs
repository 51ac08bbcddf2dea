using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Security.Cryptography;
using System.Text;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>The opening handshake (RFC 6455 §4.1) over a stream.</summary>
    static class Handshake
    {
        const int most = 16 << 10; // bytes of a head, and of a refusal's body
        const string magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

        /// <summary>Returns what came behind the server's head. Fails with EndedException.</summary>
        internal static async Task<ArraySegment<byte>> Shake(Stream stream, ConnectRequest request)
        {
            string key = Convert.ToBase64String(Clock.Bytes(16));
            var ask = Encoding.ASCII.GetBytes(Head(request, key));
            await stream.WriteAsync(ask, 0, ask.Length).ConfigureAwait(false);
            await stream.FlushAsync().ConfigureAwait(false);
            var reply = new Reply();
            await reply.ReadHead(stream).ConfigureAwait(false);
            if (reply.Status != 101)
            {
                await reply.ReadBody(stream).ConfigureAwait(false);
                throw new EndedException(reply.Refusal(request.Clock));
            }
            Check(reply, key);
            return reply.Rest;
        }

        static string Head(ConnectRequest request, string key)
        {
            var url = request.Url;
            var s = new StringBuilder();
            s.Append("GET ").Append(url.PathAndQuery).Append(" HTTP/1.1\r\n");
            s.Append("Host: ").Append(url.IsDefaultPort ? HostName(url) : HostName(url) + ":" + url.Port).Append("\r\n");
            s.Append("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
            s.Append("Sec-WebSocket-Key: ").Append(key).Append("\r\n");
            s.Append("Sec-WebSocket-Protocol: ").Append(string.Join(", ", request.Protocols)).Append("\r\n");
            foreach (var header in request.Headers)
            {
                if ((header.Key + header.Value).IndexOfAny(new[] { '\r', '\n' }) >= 0) throw new ArgumentException("a header with a line break");
                s.Append(header.Key).Append(": ").Append(header.Value).Append("\r\n");
            }
            return s.Append("\r\n").ToString();
        }

        static string HostName(Uri url)
        {
            return url.HostNameType == UriHostNameType.IPv6 ? "[" + url.DnsSafeHost + "]" : url.DnsSafeHost;
        }

        static void Check(Reply reply, string key)
        {
            string accept;
            using (var sha = SHA1.Create()) accept = Convert.ToBase64String(sha.ComputeHash(Encoding.ASCII.GetBytes(key + magic)));
            if (!Same(reply.Header("upgrade"), "websocket") || reply.Header("sec-websocket-accept") != accept) throw Wrong("no WebSocket handshake");
            if (reply.Header("sec-websocket-protocol") != Wire.Protocol) throw Wrong("another subprotocol than " + Wire.Protocol); // not quoted: it may be the token's
            if (reply.Header("sec-websocket-extensions") != "") throw Wrong("an extension that was not asked for");
        }

        static bool Same(string a, string b) { return string.Equals(a, b, StringComparison.OrdinalIgnoreCase); }

        internal static EndedException Wrong(string what) { return new EndedException(Ending.Of(EndKind.Protocol, what)); }

        /// <summary>An HTTP reply.</summary>
        internal sealed class Reply
        {
            internal int Status;
            readonly Dictionary<string, string> headers = new Dictionary<string, string>(); // names in lower case
            byte[] buffer = new byte[1024];
            int have, headEnd;

            internal ArraySegment<byte> Rest { get { return new ArraySegment<byte>(buffer, headEnd, have - headEnd); } }

            internal string Header(string name)
            {
                string value;
                return headers.TryGetValue(name, out value) ? value : "";
            }

            internal async Task ReadHead(Stream stream)
            {
                while (!FindEnd())
                {
                    if (have >= most) throw Wrong("a reply of more than " + most + " bytes");
                    if (!await More(stream).ConfigureAwait(false)) throw new EndedException(Ending.Of(EndKind.Lost, "the connection has ended before an answer"));
                }
                Parse(Encoding.ASCII.GetString(buffer, 0, headEnd));
            }

            async Task<bool> More(Stream stream)
            {
                if (have == buffer.Length) Array.Resize(ref buffer, buffer.Length * 2);
                int n = await stream.ReadAsync(buffer, have, buffer.Length - have).ConfigureAwait(false);
                have += Math.Max(0, n);
                return n > 0;
            }

            bool FindEnd()
            {
                for (int i = 3; i < have; i++)
                {
                    if (buffer[i] != '\n' || buffer[i - 1] != '\r' || buffer[i - 2] != '\n') continue;
                    headEnd = i + 1;
                    return true;
                }
                return false;
            }

            internal void Parse(string head)
            {
                var lines = head.Split(new[] { "\r\n" }, StringSplitOptions.None);
                var words = lines[0].Split(' ');
                if (words.Length < 2 || !words[0].StartsWith("HTTP/1.", StringComparison.Ordinal) || words[1].Length != 3 || !int.TryParse(words[1], NumberStyles.None, CultureInfo.InvariantCulture, out Status))
                    throw Wrong("an answer that is not HTTP");
                for (int i = 1; i < lines.Length; i++)
                {
                    int colon = lines[i].IndexOf(':');
                    if (colon > 0) headers[lines[i].Substring(0, colon).Trim().ToLowerInvariant()] = lines[i].Substring(colon + 1).Trim();
                }
            }

            /// <summary>Reads as much of the body as is said to come, and as can be made sense of.</summary>
            internal async Task ReadBody(Stream stream)
            {
                int length;
                if (!int.TryParse(Header("content-length"), NumberStyles.None, CultureInfo.InvariantCulture, out length) || length > most) return;
                try
                {
                    while (have - headEnd < length && await More(stream).ConfigureAwait(false)) { }
                }
                catch (IOException) { } // the status is known
                catch (ObjectDisposedException) { }
            }

            internal Ending Refusal(Clock clock)
            {
                return Ending.Refused(Status, Problem(), RetryAfter(Header("retry-after"), Header("date"), clock.UtcNow));
            }

            /// <summary>The code of a problem document (RFC 9457) such as Homing writes, or nothing.</summary>
            string Problem()
            {
                if (!Header("content-type").StartsWith("application/problem+json", StringComparison.Ordinal)) return "";
                try
                {
                    string code = JsonValue.Parse(Encoding.UTF8.GetString(buffer, headEnd, have - headEnd)).StringOf("code");
                    if (code.Length > 64) return "";
                    foreach (char c in code)
                        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_') return "";
                    return code;
                }
                catch (JsonException) { return ""; }
            }
        }

        /// <summary>
        /// Reads Retry-After, seconds or a date; zero when there is none that makes sense, or it is
        /// over. A date is measured by the server's own clock when it tells its Date.
        /// </summary>
        internal static TimeSpan RetryAfter(string value, string date, DateTime now)
        {
            bool digits = value.Length > 0;
            foreach (char c in value) digits = digits && c >= '0' && c <= '9';
            if (digits)
            {
                double seconds;
                double.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out seconds);
                return value.Length > 9 ? TimeSpan.FromDays(365) : Wire.Millis(seconds * 1000);
            }
            DateTime at, told;
            if (!HttpDate(value, out at)) return TimeSpan.Zero;
            if (HttpDate(date, out told)) now = told;
            return Backoff.Max(TimeSpan.Zero, at - now);
        }

        static readonly string[] dates = { "ddd, dd MMM yyyy HH:mm:ss 'GMT'", "dddd, dd-MMM-yy HH:mm:ss 'GMT'", "ddd MMM d HH:mm:ss yyyy", "ddd MMM  d HH:mm:ss yyyy" };

        static bool HttpDate(string text, out DateTime at)
        {
            return DateTime.TryParseExact(text, dates, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out at);
        }
    }
}
