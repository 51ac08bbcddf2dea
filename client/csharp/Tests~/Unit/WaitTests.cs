using System;
using System.Collections.Generic;

namespace Homing.Tests
{
    /// <summary>When to come back, and where.</summary>
    static class WaitTests
    {
        internal static void Register()
        {
            Program.Add("backoff: the table of docs/protocol.md", Table);
            Program.Add("backoff: growing", Growing);
            Program.Add("backoff: a server that asks for nonsense", Nonsense);
            Program.Add("endings: which are for good", Permanent);
            Program.Add("Retry-After", RetryAfter);
            Program.Add("where a server may send a client", Targets);
            Program.Add("a room's address", RoomAddress);
        }

        static TimeSpan Ms(double ms) { return TimeSpan.FromTicks((long)(ms * TimeSpan.TicksPerMillisecond)); }

        /// <summary>The first pause at the least and at the most.</summary>
        static void Pause(string what, Ending end, Reconnect hint, double least, double most)
        {
            var low = new Backoff(TimeSpan.FromMinutes(2), () => 0).Next(end, hint, Ms(1000));
            var high = new Backoff(TimeSpan.FromMinutes(2), () => 0.999999).Next(end, hint, Ms(1000));
            Want.Equal(least, low.TotalMilliseconds, what + ", at least");
            Want.True(high.TotalMilliseconds <= most && high.TotalMilliseconds > most - 1, what + ", at most " + most + ", have " + high.TotalMilliseconds);
        }

        static void Table()
        {
            var lost = Ending.Of(EndKind.Lost, "");
            Pause("lost", lost, null, 125, 375);
            Pause("1006", Ending.Closed(1011, ""), null, 125, 375);
            Pause("1012", Ending.Closed(1012, ""), null, 0, 2000);
            Pause("1013", Ending.Closed(1013, ""), null, 2500, 7500);
            Pause("503", Ending.Refused(503, "", TimeSpan.Zero), null, 2500, 7500);
            Pause("503 with Retry-After", Ending.Refused(503, "", Ms(20000)), null, 20000, 23000);
            Pause("429 with Retry-After", Ending.Refused(429, "", Ms(1000)), null, 1000, 2100);
            Pause("a hint", lost, new Reconnect(Ms(4000), "", Ms(1000)), 4000, 4400);
            Pause("a hint that is half over", Ending.Closed(1012, ""), new Reconnect(Ms(4000), "", Ms(-1000)), 2000, 2400);
            Pause("a hint that is over", Ending.Closed(1012, ""), new Reconnect(Ms(500), "", Ms(0)), 0, 250);
            Pause("401", Ending.Refused(401, "token_expired", TimeSpan.Zero), null, 125, 375);
        }

        static void Growing()
        {
            var b = new Backoff(TimeSpan.FromMinutes(2), () => 0.5);
            var lost = Ending.Of(EndKind.Lost, "");
            foreach (double want in new double[] { 250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 32000 })
                Want.Equal(want, b.Next(lost, null, TimeSpan.Zero).TotalMilliseconds, "the pause");
            b.Reset();
            Want.Equal(250.0, b.Next(lost, null, TimeSpan.Zero).TotalMilliseconds, "the pause after a connection that lasted");
        }

        static void Nonsense()
        {
            Pause("a hint of a year", Ending.Of(EndKind.Lost, ""), new Reconnect(TimeSpan.FromDays(365), "", Ms(1000)), 120000, 132000);
            Pause("Retry-After of a year", Ending.Refused(503, "", TimeSpan.FromDays(365)), null, 120000, 133000);
            var b = new Backoff(TimeSpan.FromMinutes(2), () => 0.5);
            b.Next(Ending.Closed(1012, ""), new Reconnect(TimeSpan.Zero, "", TimeSpan.Zero), TimeSpan.Zero);
            b.Next(Ending.Closed(1012, ""), new Reconnect(TimeSpan.Zero, "", TimeSpan.Zero), TimeSpan.Zero);
            b.Next(Ending.Closed(1012, ""), null, TimeSpan.Zero);
            Want.Equal(2000.0 * 0.5 * 2 - 1000, b.Next(Ending.Closed(1012, ""), new Reconnect(TimeSpan.Zero, "", TimeSpan.Zero), TimeSpan.Zero).TotalMilliseconds, "the fourth in a row");
        }

        static void Permanent()
        {
            foreach (int code in new[] { 1000, 4003, 4010, 1002, 1003, 1007, 1008, 1009, 1010 }) Want.True(Ending.Closed(code, "").Permanent, "for good: " + code);
            foreach (int code in new[] { 1001, 1005, 1011, 1012, 1013, 4008, 4009, 3000 }) Want.True(!Ending.Closed(code, "").Permanent, "not for good: " + code);
            foreach (int status in new[] { 400, 403, 404, 426, 431, 499 }) Want.True(Ending.Refused(status, "", TimeSpan.Zero).Permanent, "for good: " + status);
            foreach (int status in new[] { 401, 408, 425, 429, 500, 502, 503, 302 }) Want.True(!Ending.Refused(status, "", TimeSpan.Zero).Permanent, "not for good: " + status);
            Want.True(Ending.Refused(401, "", TimeSpan.Zero).Spent().Permanent, "401 too often");
        }

        static void RetryAfter()
        {
            var now = new DateTime(2026, 11, 27, 12, 0, 0, DateTimeKind.Utc);
            const string date = "Fri, 27 Nov 2026 10:00:00 GMT";
            Want.Equal(12.0, Handshake.RetryAfter("12", date, now).TotalSeconds, "seconds");
            Want.Equal(30.0, Handshake.RetryAfter("Fri, 27 Nov 2026 10:00:30 GMT", date, now).TotalSeconds, "a date by the server's clock");
            Want.Equal(60.0, Handshake.RetryAfter("Fri, 27 Nov 2026 12:01:00 GMT", "", now).TotalSeconds, "a date by our clock");
            Want.Equal(5.0, Handshake.RetryAfter("Friday, 27-Nov-26 10:00:05 GMT", date, now).TotalSeconds, "RFC 850");
            Want.Equal(5.0, Handshake.RetryAfter("Fri Nov 27 10:00:05 2026", date, now).TotalSeconds, "asctime");
            Want.Equal(0.0, Handshake.RetryAfter("Fri, 27 Nov 2026 09:00:00 GMT", date, now).TotalSeconds, "what is over");
            foreach (string value in new[] { "", "soon", "-5", "1.5", "+3" }) Want.Equal(0.0, Handshake.RetryAfter(value, date, now).TotalSeconds, value);
            Want.True(Handshake.RetryAfter("99999999999999999999999", date, now) >= TimeSpan.FromDays(365), "too large");
        }

        static void Targets()
        {
            var none = new List<string>();
            var hosts = new List<string> { "B.example", "c.example:8443" };
            var home = Target.Parse("wss://a.example:9/ws?x=y");
            foreach (string good in new[] { "b.example", "c.example:8443", "d.example:1", "[::1]:7", "127.0.0.1:80" })
                Want.Equal("wss://" + (good.IndexOf(':') < 0 ? good + ":9" : good) + "/ws?x=y", Target.Follow(home, good, none).AbsoluteUri, "followed");
            foreach (string bad in new[] { "", "b.example/steal", "ws://b.example", "u:p@b.example", "b.example?x", "b.example#x", "b.example:port", ":80" })
                Want.True(Target.Follow(home, bad, none) == null, "not followed: " + bad);
            foreach (string good in new[] { "b.example", "b.example:7", "c.example:8443" })
                Want.True(Target.Follow(home, good, hosts) != null, "listed: " + good);
            foreach (string bad in new[] { "c.example", "evil.example", "b.example.evil.example" })
                Want.True(Target.Follow(home, bad, hosts) == null, "not listed: " + bad);
            foreach (string no in new[] { null, "", "ws://", "http://a/", "a.example/ws", "ws:///ws" }) Want.True(Target.Parse(no) == null, "no address: " + no);
        }

        static void RoomAddress()
        {
            Want.Equal("wss://a/ws?room=x%2By%3D", Target.WithRoom("wss://a/ws", "x+y="), "the address");
            Want.Equal("wss://a/ws?v=1&room=x", Target.WithRoom("wss://a/ws?v=1", "x"), "the address");
        }
    }
}
