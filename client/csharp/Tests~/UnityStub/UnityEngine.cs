// As much of Unity as the samples name, so that they can be compiled without it. It does
// nothing, and says nothing about what Unity does.
using System;
using System.Collections;

namespace UnityEngine
{
    public class MonoBehaviour
    {
        public GameObject gameObject { get { return null; } }
        public static void DontDestroyOnLoad(object o) { }
        public Coroutine StartCoroutine(IEnumerator routine) { return null; }
    }

    public sealed class GameObject { }
    public sealed class Coroutine { }

    [AttributeUsage(AttributeTargets.Field)]
    public sealed class SerializeField : Attribute { }

    public static class Debug
    {
        public static void Log(object o) { }
        public static void LogException(Exception e) { }
    }

    public enum NetworkReachability { NotReachable, ReachableViaCarrierDataNetwork, ReachableViaLocalAreaNetwork }

    public static class Application
    {
        public static bool runInBackground { get; set; }
        public static NetworkReachability internetReachability { get { return NetworkReachability.NotReachable; } }
    }

    public static class JsonUtility
    {
        public static T FromJson<T>(string json) { return default(T); }
    }

    public static class PlayerPrefs
    {
        public static string GetString(string key, string defaultValue) { return defaultValue; }
        public static void SetString(string key, string value) { }
    }
}

namespace UnityEngine.Networking
{
    public sealed class DownloadHandler
    {
        public string text { get { return ""; } }
    }

    public sealed class UnityWebRequest : IDisposable
    {
        public static UnityWebRequest Get(string url) { return new UnityWebRequest(); }
        public int timeout { get; set; }
        public string error { get { return null; } }
        public DownloadHandler downloadHandler { get { return null; } }
        public object SendWebRequest() { return null; }
        public void Dispose() { }
    }
}
